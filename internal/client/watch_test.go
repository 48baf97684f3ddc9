package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/client"
)

// Whatever order messages and answers arrive in, and whatever is lost in a
// gap, a watcher is told each change once and ends with the truth.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var truth atomic.Pointer[presence.Presence]
		set := func(p presence.Presence) { truth.Store(&p) }
		set(online("alice", 10, "/first"))
		again := make(chan struct{})
		c := dialable(t, answering(t, &truth, nil), func(p *peer) {
			p.subscribe()
			synctest.Wait()
			select {
			case <-again:
				p.data(online("alice", 60, "/known")) // Doubled.
				p.read()
				return
			default:
				close(again)
			}
			p.data(online("alice", 9, "/stale"))
			p.data(online("alice", 10, "/first"))
			p.data(online("alice", 20, "/second"))
			p.data(online("alice", 30, "/second"))
			set(online("alice", 60, "/known"))
		})
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Watch(ctx, []string{"alice"}, client.Watcher{
			Changed: func(p presence.Presence) {
				got = append(got, *p.URL)
				if *p.URL == "/known" {
					time.AfterFunc(time.Second, cancel)
				}
			},
		})
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"/first", "/second", "/known"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// An offline nobody announced is found out by asking, at leisure; and while
// nobody is overdue, nobody is asked.
func TestWatchAsksAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var truth atomic.Pointer[presence.Presence]
		p := online("alice", 10, "/")
		truth.Store(&p)
		var queries []time.Duration
		begin := time.Now()
		c := dialable(t, answering(t, &truth, func() { queries = append(queries, time.Since(begin)) }), func(p *peer) {
			p.subscribe()
			p.keepAlive(10)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
		defer cancel()
		var offline time.Duration
		if err := c.Watch(ctx, []string{"alice"}, client.Watcher{
			Changed: func(p presence.Presence) {
				if p.Status == presence.Offline {
					offline = time.Since(begin)
				} else {
					p = presence.Presence{UserID: "alice", Status: presence.Offline, AsOf: 85_000, HeartbeatIntervalMs: 30_000}
					truth.Store(&p)
				}
			},
		}); err != nil {
			t.Error(err)
		}
		if offline < 75*time.Second || offline > 150*time.Second {
			t.Errorf("offline found out after %v", offline)
		}
		if len(queries) != 2 {
			t.Errorf("asked at %v, want at the start and after the expiry only", queries)
		}
	})
}

// A query that cannot be answered is tried again; one that is refused ends
// the watch.
func TestWatchQueryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queries := 0
		c := dialable(t, func(w http.ResponseWriter, _ *http.Request) {
			if queries++; queries < 4 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusForbidden)
		}, func(p *peer) { p.subscribe(); p.read() })
		err := c.Watch(t.Context(), []string{"alice"}, client.Watcher{})
		if code(err) != presence.Unauthorized || queries != 4 {
			t.Errorf("got %v after %d queries", err, queries)
		}
	})
}

func TestWatchRefusesNobody(t *testing.T) {
	t.Parallel()
	if err := newClient(t, nil).Watch(t.Context(), nil, client.Watcher{}); code(err) != presence.InvalidArgument {
		t.Errorf("got %v, want InvalidArgument", err)
	}
}

// Many users take a few subscriptions on one connection, and a few queries.
func TestWatchMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := make([]string, 450)
		for i := range users {
			users[i] = fmt.Sprint("user-", i)
		}
		type request struct {
			Query     string
			Variables struct{ UserIDs []string }
		}
		var asked, subscribed [][]string
		c := dialable(t, func(w http.ResponseWriter, r *http.Request) {
			var got request
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			asked = append(asked, got.Variables.UserIDs)
			var answer []presence.Presence
			for _, user := range got.Variables.UserIDs {
				answer = append(answer, online(user, 10, "/"))
			}
			if err := json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"answer": answer}}); err != nil {
				t.Error(err)
			}
		}, func(p *peer) {
			p.send(acknowledged)
			var acks []string
			for range 3 {
				start := p.read()
				var payload struct{ Data string }
				var got request
				if err := errors.Join(json.Unmarshal(start.Payload, &payload), json.Unmarshal([]byte(payload.Data), &got)); err != nil {
					t.Error(err)
				}
				subscribed = append(subscribed, got.Variables.UserIDs)
				acks = append(acks, fmt.Sprintf(`{"type":"start_ack","id":%q}`, start.ID))
			}
			for _, ack := range acks { // The pipe has no buffer: the client sends all starts first.
				p.send(ack)
			}
			p.read() // until the client leaves
		})
		known := map[string]bool{}
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Watch(ctx, users, client.Watcher{Changed: func(p presence.Presence) {
			if known[p.UserID] = true; len(known) == len(users) {
				cancel()
			}
		}}); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([][]string{users[:200], users[200:400], users[400:]}, subscribed); diff != "" {
			t.Errorf("subscribed: -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([][]string{users[:100], users[100:200], users[200:300], users[300:400], users[400:]}, asked); diff != "" {
			t.Errorf("asked: -want +got:\n%s", diff)
		}
	})
}

// answering answers every query with the truth.
func answering(t *testing.T, truth *atomic.Pointer[presence.Presence], asked func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if asked != nil {
			asked()
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"answer": []any{truth.Load()}}}); err != nil {
			t.Error(err)
		}
	}
}
