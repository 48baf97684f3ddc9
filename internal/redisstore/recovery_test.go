package redisstore_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// What happens around a clock that steps back, a Redis that has failed over,
// and sweeps that hardly run.

var seldom = presence.Timing{Heartbeat: 10 * time.Second, Timeout: 25 * time.Second, Retention: time.Hour}

func newStore(t *testing.T) (store *redisstore.Store, url string, advance func(time.Duration)) {
	t.Helper()
	url, advance = testenv.Embedded(t)
	store, err := redisstore.New(redisstore.Options{Timing: seldom, Redis: config.Redis{RedisURL: url}, Shards: 1, Prefix: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, url, advance
}

func connect(t *testing.T, store *redisstore.Store) presence.State {
	t.Helper()
	state, err := store.Touch(t.Context(), presence.Beat{UserID: "alice", SessionID: "", Page: presence.Page{URL: "https://example.com/", Title: "Home"}, Reason: presence.ReasonConnect})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// Sweeps so far between that each takes itself to have been away.
func TestSeldomSweepsExpire(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{20 * time.Second, 30 * time.Second, time.Minute, time.Hour} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			store, _, advance := newStore(t)
			if _, err := store.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			connect(t, store)
			for range 4 {
				advance(every)
				sweep, err := store.Sweep(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if sweep.Expired == 1 {
					return
				}
			}
			t.Error("not expired in four sweeps")
		})
	}
}

func TestNotesAfterClockStepsBack(t *testing.T) {
	t.Parallel()
	store, _, advance := newStore(t)
	connect(t, store)
	advance(-10 * time.Minute)
	for range 3 {
		advance(3 * time.Second)
		sweep, err := store.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(sweep.Due) == 1 {
			return
		}
	}
	t.Error("the note is not due within its lease")
}

// A replica takes over that has not the last beat.
func TestAsOfAfterFailover(t *testing.T) {
	t.Parallel()
	store, url, advance := newStore(t)
	if _, err := store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := connect(t, store)
	advance(500 * time.Millisecond)
	lost := connect(t, store)
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.ZAdd(t.Context(), "test{0}:online", redis.Z{Score: float64(before.AsOf), Member: "alice"}).Err(); err != nil {
		t.Fatal(err)
	}
	advance(2 * time.Second)
	states, err := store.Status(t.Context(), []string{"alice"})
	if err != nil {
		t.Fatal(err)
	}
	if got := states[0].AsOf; got < lost.AsOf {
		t.Errorf("asOf ran back from %v to %v", lost.AsOf, got)
	}
}

// A page goes with its session, whatever the grace.
func TestPageInLongGrace(t *testing.T) {
	t.Parallel()
	store, _, advance := newStore(t)
	page := func(url string) presence.Page { return presence.Page{URL: url, Title: url} }
	touch := func(session, url string, reason presence.Reason) presence.State {
		state, err := store.Touch(t.Context(), presence.Beat{UserID: "alice", SessionID: session, Page: page(url), Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	touch("one", "https://example.com/1", presence.ReasonConnect)
	touch("two", "https://example.com/2", presence.ReasonConnect)
	advance(20 * time.Second)
	touch("one", "https://example.com/1", presence.ReasonHeartbeat)
	if _, err := store.Leave(t.Context(), presence.Leave{UserID: "alice", SessionID: "two", GraceMs: 20_000}); err != nil {
		t.Fatal(err)
	}
	advance(6 * time.Second)
	if got := touch("one", "https://example.com/1", presence.ReasonHeartbeat); *got.URL != "https://example.com/1" {
		t.Errorf("shown is %s of a session that has expired", *got.URL)
	}
}

// A beat counts from the time there is, also where that has stepped back, and
// its asOf goes on.
func TestBeatAfterClockStepsBack(t *testing.T) {
	t.Parallel()
	store, _, advance := newStore(t)
	last := connect(t, store)
	advance(-10 * time.Minute)
	for range 3 {
		state, err := store.Touch(t.Context(), presence.Beat{UserID: "alice", SessionID: "", Page: presence.Page{URL: "https://example.com/", Title: "Home"}, Reason: presence.ReasonHeartbeat})
		if err != nil {
			t.Fatal(err)
		}
		if state.AsOf <= last.AsOf || state.Note != 0 {
			t.Errorf("asOf %v after %v, note %v", state.AsOf, last.AsOf, state.Note)
		}
		if ahead := state.ExpiresAt.Time().Sub(last.AsOf.Time()); ahead > -9*time.Minute {
			t.Errorf("expires %v after the last beat from before", ahead)
		}
		if state.URL == nil || *state.URL != "https://example.com/" {
			t.Errorf("page %v", state.URL)
		}
		last.AsOf = state.AsOf
	}
}

// Each read of somebody who is past the timeout takes an asOf. Whoever reads
// often must not put the clock far ahead of the time.
func TestReadsKeepTheClock(t *testing.T) {
	t.Parallel()
	store, _, advance := newStore(t)
	connect(t, store)
	advance(seldom.Timeout + time.Second)
	alice := slices.Repeat([]string{"alice"}, 100)
	var first, last presence.Time
	for range 100 {
		states, err := store.Status(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		first, last = cmp.Or(first, states[0].AsOf), states[99].AsOf
	}
	if lead := last.Time().Sub(first.Time()); lead > 200*time.Millisecond {
		t.Errorf("asOf is %v ahead after 100 reads", lead)
	}
}
