package client_test

import (
	"context"
	"encoding/json"
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

// A query that can not be answered is tried again; one that is refused ends
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

func TestWatchRefusesTooMany(t *testing.T) {
	t.Parallel()
	c := newClient(t, nil)
	for _, users := range [][]string{nil, make([]string, 101)} {
		if err := c.Watch(t.Context(), users, client.Watcher{}); code(err) != presence.InvalidArgument {
			t.Errorf("%d users: got %v, want InvalidArgument", len(users), err)
		}
	}
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
