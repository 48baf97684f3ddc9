package redisstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// full is a store on a real Redis whose memory a test fills.
type full struct {
	*redisstore.Store
	t     *testing.T
	admin *redis.Client
	clock *testenv.Clock
}

func newFull(t *testing.T, pagesURL string) *full {
	t.Helper()
	server := testenv.Redis(t, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
	store, err := redisstore.New(redisstore.Options{
		Timing: presence.Timing{Heartbeat: time.Second, Timeout: 3 * time.Second, Retention: 5 * time.Second},
		Redis:  config.Redis{RedisURL: server.URL, StatusRedisURL: pagesURL}, Shards: 2, Away: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { admin.Close() })
	return &full{store, t, admin, testenv.ClockOf(t, server.URL)}
}

func (f *full) fill() {
	f.t.Helper()
	if err := f.admin.SetRange(f.t.Context(), "big", 16<<20, "x").Err(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *full) makeRoom() {
	f.t.Helper()
	if err := f.admin.Del(f.t.Context(), "big").Err(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *full) beat(user, session string, reason presence.Reason) error {
	_, err := f.Touch(f.t.Context(), presence.Beat{UserID: user, SessionID: session, Page: presence.Page{URL: "https://example.com/", Title: "Home"}, Reason: reason})
	return err
}

func (f *full) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// shows checks the users' status, read one by one and all at once.
func (f *full) shows(want presence.Status, users ...string) {
	f.t.Helper()
	states, err := f.Status(f.t.Context(), users)
	f.must(err)
	for i, user := range users {
		one, err := f.Status(f.t.Context(), []string{user})
		f.must(err)
		if states[i].Status != want || one[0].Status != want {
			f.t.Errorf("%s is %s and %s, want %s", user, states[i].Status, one[0].Status, want)
		}
	}
}

// refused checks that nobody comes online, and that the cause says why.
func (f *full) refused(user, session string) {
	f.t.Helper()
	err := f.beat(user, session, presence.ReasonConnect)
	var e *presence.Error
	if !errors.As(err, &e) || e.Code != presence.Unavailable || !strings.Contains(fmt.Sprint(e.Err), "the memory of Redis is full") {
		f.t.Errorf("connect of %s in the session %q: %v, want Unavailable because the memory is full", user, session, err)
	}
}

// Row C5 of the trials: with its memory full, Redis refused reads and sweeps too,
// so the sweep never made the room that was missing.
func TestC5RedisFull(t *testing.T) {
	t.Parallel()
	f := newFull(t, "")
	for _, user := range []string{"alice", "bob", "carol"} {
		f.must(f.beat(user, "", presence.ReasonConnect))
	}
	f.must(f.beat("dave", "tab", presence.ReasonConnect))
	f.must(f.beat("dave", "other", presence.ReasonConnect))
	f.fill()
	f.clock.Advance(1500 * time.Millisecond) // a read now writes the shard's clock

	f.shows(presence.Online, "alice", "bob", "carol", "dave")
	f.must(f.beat("alice", "", presence.ReasonHeartbeat))
	f.must(f.beat("dave", "tab", presence.ReasonHeartbeat))
	f.refused("erin", "")
	f.refused("erin", "tab")
	f.shows(presence.Offline, "erin")
	for _, leave := range []presence.Leave{{UserID: "bob"}, {UserID: "dave", SessionID: "other"}, {UserID: "dave", SessionID: "tab", GraceMs: 10}} {
		_, err := f.Leave(t.Context(), leave)
		f.must(err)
	}
	f.shows(presence.Offline, "bob")

	expired := map[string]bool{}
	testenv.Eventually(t, 20*time.Second, func() error {
		sweep, err := f.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, due := range sweep.Due {
			if due.Reason == presence.ReasonTimeout {
				expired[due.UserID] = true
				f.must(f.Acknowledge(t.Context(), due.UserID, due.Note))
			}
		}
		if sweep.Online > 0 || !expired["alice"] || !expired["carol"] || !expired["dave"] {
			return fmt.Errorf("%d still online, expired are %v", sweep.Online, expired)
		}
		return nil
	})
	f.shows(presence.Offline, "alice", "carol", "dave")
	testenv.Eventually(t, 20*time.Second, func() error {
		_, err := f.Sweep(t.Context())
		f.must(err)
		states, err := f.Status(t.Context(), []string{"alice", "carol", "dave"})
		f.must(err)
		for _, state := range states {
			if state.LastSeen != 0 {
				return fmt.Errorf("%s is not forgotten", state.UserID)
			}
		}
		return nil
	})

	f.refused("erin", "")
	f.makeRoom()
	f.must(f.beat("erin", "tab", presence.ReasonConnect))
	f.shows(presence.Online, "erin")
}

func TestC5RedisFullPagesElsewhere(t *testing.T) {
	t.Parallel()
	f := newFull(t, testenv.Redis(t).URL)
	f.must(f.beat("alice", "", presence.ReasonConnect))
	f.fill()
	f.must(f.beat("alice", "", presence.ReasonHeartbeat))
	f.refused("erin", "")
	if _, err := f.Leave(t.Context(), presence.Leave{UserID: "alice"}); err != nil {
		t.Fatal(err)
	}
	f.shows(presence.Offline, "alice")
	f.makeRoom()
	f.must(f.beat("erin", "", presence.ReasonConnect))
}
