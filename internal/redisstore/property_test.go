package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"presence"
	"presence/internal/config"
	"presence/internal/model"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// The store is held against the reference model by operations made up at
// random. Durations end in half a second and the clock moves by whole ones, so
// that the few milliseconds a score may be ahead of the time decide nothing.
// These tests are not parallel: others, on the clock of real Redis, could not
// keep time beside them.
var modelTiming = presence.Timing{Heartbeat: 10 * time.Second, Timeout: 25500 * time.Millisecond, Retention: 180500 * time.Millisecond}

func TestModelEmbedded(t *testing.T) {
	url, advance := testenv.Embedded(t)
	holdAgainstModel(t, config.Redis{RedisURL: url}, modelTiming, advance)
}

func TestModelEmbeddedTwoRedis(t *testing.T) {
	url, advance := testenv.Embedded(t)
	pagesURL, advancePages := testenv.Embedded(t)
	holdAgainstModel(t, config.Redis{RedisURL: url, StatusRedisURL: pagesURL}, modelTiming, func(d time.Duration) {
		advance(d)
		advancePages(d)
	})
}

// The clock of real Redis cannot be moved. Here nothing expires, so that the
// time it takes does not matter.
func TestModelRedis(t *testing.T) {
	server := testenv.Redis(t)
	holdAgainstModel(t, config.Redis{RedisURL: server.URL}, presence.Timing{Heartbeat: time.Hour, Timeout: 24 * time.Hour, Retention: 48 * time.Hour}, nil)
}

// lease is so long that the age of a note, of which a few milliseconds are
// uncertain, does not matter.
const modelLease = 60500 * time.Millisecond

func holdAgainstModel(t *testing.T, where config.Redis, timing presence.Timing, advance func(time.Duration)) {
	now, runs := presence.Time(1_800_000_000_000), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: 1, Prefix: fmt.Sprint(t.Name(), runs), Lease: modelLease})
		if err != nil {
			rt.Fatal(err)
		}
		defer store.Close()
		p := pair{
			T: rt, store: store, timing: timing, latest: map[string]presence.Time{}, notes: map[string][2]presence.Time{},
			model: &model.Store{Timing: timing, Now: func() presence.Time { return now }, Lease: modelLease, Away: timing.Timeout - timing.Heartbeat},
		}
		actions := map[string]func(*rapid.T){
			"connect":     func(rt *rapid.T) { p.touch(rt, presence.ReasonConnect) },
			"heartbeat":   func(rt *rapid.T) { p.touch(rt, presence.ReasonHeartbeat) },
			"leave":       p.leave,
			"acknowledge": p.acknowledge,
			"status":      p.status,
			"sweep":       func(*rapid.T) { p.sweep() },
		}
		if advance != nil {
			actions["time-passes"] = func(rt *rapid.T) {
				d := time.Duration(rapid.SampledFrom([]int{1, 3, 8, 20, 26, 60, 200}).Draw(rt, "seconds")) * time.Second
				advance(d)
				now += presence.Time(d.Milliseconds())
			}
		}
		rt.Repeat(actions)
	})
}

// pair are a store and the model, both told the same.
type pair struct {
	*rapid.T
	store  *redisstore.Store
	model  *model.Store
	timing presence.Timing
	latest map[string]presence.Time    // each user's greatest asOf
	notes  map[string][2]presence.Time // each user's latest note, the store's and the model's
}

var (
	modelUsers    = rapid.SampledFrom([]string{"alice", "bob"})
	modelSessions = rapid.SampledFrom([]string{"", "one", "two"})
	modelPages    = rapid.SampledFrom([]presence.Page{{}, {URL: "https://example.com/", Title: "Home"}, {URL: "https://example.com/about", Title: "About"}})
)

func (p *pair) touch(rt *rapid.T, reason presence.Reason) {
	user, session, page := modelUsers.Draw(rt, "user"), modelSessions.Draw(rt, "session"), modelPages.Draw(rt, "page")
	got, err := p.store.Touch(p.Context(), presence.Beat{UserID: user, SessionID: session, Page: page, Reason: reason})
	p.check(err)
	want, _ := p.model.Touch(context.Background(), presence.Beat{UserID: user, SessionID: session, Page: page, Reason: reason})
	p.compare(got, want, true)
}

func (p *pair) leave(rt *rapid.T) {
	user, session := modelUsers.Draw(rt, "user"), modelSessions.Draw(rt, "session")
	grace := rapid.SampledFrom([]time.Duration{0, 500 * time.Millisecond, 8500 * time.Millisecond, p.timing.Timeout}).Draw(rt, "grace")
	got, err := p.store.Leave(p.Context(), presence.Leave{UserID: user, SessionID: session, GraceMs: grace.Milliseconds()})
	p.check(err)
	want, _ := p.model.Leave(context.Background(), presence.Leave{UserID: user, SessionID: session, GraceMs: grace.Milliseconds()})
	p.compare(got, want, want.Note != 0)
}

func (p *pair) acknowledge(rt *rapid.T) {
	user := modelUsers.Draw(rt, "user")
	notes := p.notes[user]
	if rapid.Bool().Draw(rt, "an old one") {
		notes[0]--
		notes[1]--
	}
	p.check(p.store.Acknowledge(p.Context(), user, notes[0]))
	_ = p.model.Acknowledge(context.Background(), user, notes[1])
}

func (p *pair) status(*rapid.T) {
	users := []string{"bob", "alice", "nobody"}
	got, err := p.store.Status(p.Context(), users)
	p.check(err)
	want, _ := p.model.Status(context.Background(), users)
	for i := range want {
		p.compare(got[i], want[i], false)
	}
}

func (p *pair) sweep() {
	got, err := p.store.Sweep(p.Context())
	p.check(err)
	want, _ := p.model.Sweep(context.Background())
	if got.Expired != want.Expired || got.Online != want.Online || got.Unannounced != want.Unannounced || len(got.Due) != len(want.Due) {
		p.Fatalf("sweep: expired %d, online %d, unannounced %d, due %d; want %d, %d, %d, %d",
			got.Expired, got.Online, got.Unannounced, len(got.Due), want.Expired, want.Online, want.Unannounced, len(want.Due))
	}
	for _, want := range want.Due {
		for _, got := range got.Due {
			if got.UserID == want.UserID {
				p.notes[got.UserID] = [2]presence.Time{got.Note, want.Note}
				if got.Status != want.Status || got.Change != want.Change || got.Reason != want.Reason {
					p.Fatalf("due: %s %s %s %s, want %s %s %s", got.UserID, got.Status, got.Change, got.Reason, want.Status, want.Change, want.Reason)
				}
			}
		}
	}
}

// compare holds what the store says against what the model says. What the
// clock says may differ by a few milliseconds, and on real Redis by anything.
func (p *pair) compare(got, want presence.State, written bool) {
	p.Helper()
	if got.UserID != want.UserID || got.Status != want.Status || text(got.URL) != text(want.URL) || text(got.Title) != text(want.Title) {
		p.Fatalf("%s is %s on %s, want %s %s on %s", got.UserID, got.Status, text(got.URL), want.UserID, want.Status, text(want.URL))
	}
	if (got.Note != 0) != (want.Note != 0) || got.Reason != want.Reason || got.Change != want.Change {
		p.Fatalf("%s: note %v %q %q; want %v %q %q", got.UserID, got.Note, got.Change, got.Reason, want.Note, want.Change, want.Reason)
	}
	if got.Note != 0 {
		p.notes[got.UserID] = [2]presence.Time{got.Note, want.Note}
	}
	// Somebody forgotten may be forgotten a little sooner or later.
	if remembered := want.AsOf - presence.Time(p.timing.Retention.Milliseconds()); want.LastSeen > remembered && p.timing.Timeout < time.Hour {
		for what, times := range map[string][2]presence.Time{"expiresAt": {got.ExpiresAt, want.ExpiresAt}, "lastSeen": {got.LastSeen, want.LastSeen}} {
			if d := times[0] - times[1]; d < -400 || d > 400 {
				p.Fatalf("%s: %s is %v, want %v", got.UserID, what, times[0], times[1])
			}
		}
	}
	if latest := p.latest[got.UserID]; got.AsOf < latest || written && got.AsOf == latest {
		p.Fatalf("%s: asOf %v after %v", got.UserID, got.AsOf, latest)
	}
	p.latest[got.UserID] = got.AsOf
}

func (p *pair) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func text(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}
