package resolvers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
	"presence/resolvers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var timing = presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second, Retention: time.Hour}

// bus is a Publisher that keeps what it is given, and fails when told to.
type bus struct {
	mu     sync.Mutex
	events []presence.Event
	fail   bool
}

func (b *bus) Publish(_ context.Context, events []presence.Event) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail {
		return len(events), errors.New("throttled")
	}
	b.events = append(b.events, events...)
	return 0, nil
}

// take returns what was published since the last take.
func (b *bus) take() []presence.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// world is a handler on the embedded Redis, with a clock that tests move.
type world struct {
	t       *testing.T
	handler *resolvers.Handler
	store   *redisstore.Store
	bus     *bus
	advance func(time.Duration)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url, advance := testenv.Embedded(t)
	return newWorldOn(t, url, advance)
}

func newWorldOn(t *testing.T, url string, advance func(time.Duration)) *world {
	t.Helper()
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: config.Redis{RedisURL: url}, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{t: t, store: store, bus: &bus{}, advance: advance}
	w.handler = resolvers.New(resolvers.Options{
		Timing: timing, Store: store, Publisher: w.bus,
		Logger: slog.New(slog.DiscardHandler),
	})
	return w
}

// payload is the event of a field, as appsync.js makes it. A caller of "" is a
// back end.
func payload(caller, field, arguments string) []byte {
	by := `{"mode":"iam"}`
	if caller != "" {
		by = `{"mode":"user","id":"` + caller + `"}`
	}
	parent := "Mutation"
	switch {
	case strings.HasPrefix(field, "status"):
		parent = "Query"
	case strings.HasPrefix(field, "on"):
		parent = "Subscription"
	}
	return []byte(`{"field":"` + parent + `.` + field + `","arguments":` + arguments + `,"caller":` + by + `}`)
}

// answer is what the handler answers a call.
type answer struct {
	Data  json.RawMessage
	Error *refusal
}

type refusal struct{ Type, Message string }

// invoke makes a call that the handler must answer, with data or an error.
func (w *world) invoke(payload []byte) answer {
	w.t.Helper()
	reply, err := w.handler.Invoke(w.t.Context(), payload)
	if err != nil {
		w.t.Fatalf("%s: %v", payload, err)
	}
	var a answer
	if err := json.Unmarshal(reply, &a); err != nil || (a.Data == nil) == (a.Error == nil) {
		w.t.Fatalf("%s: answered %s (%v)", payload, reply, err)
	}
	return a
}

// call calls a field that must succeed, and returns the Presence.
func (w *world) call(caller, field, arguments string) *presence.Presence {
	w.t.Helper()
	a := w.invoke(payload(caller, field, arguments))
	var p *presence.Presence
	if err := json.Unmarshal(a.Data, &p); err != nil || p == nil {
		w.t.Fatalf("%s %s: %s %v", caller, field, a.Data, a.Error)
	}
	return p
}

func (w *world) status(user string) *presence.Presence {
	w.t.Helper()
	return w.call("watcher", "status", `{"userId":"`+user+`"}`)
}

// sweep runs the schedule's event.
func (w *world) sweep() {
	w.t.Helper()
	if _, err := w.handler.Invoke(w.t.Context(), []byte(`{"detail-type":"Scheduled Event","source":"aws.events","detail":{}}`)); err != nil {
		w.t.Fatal(err)
	}
}

// expire lets the timeout pass, sweeping as the schedule does.
func (w *world) expire() {
	w.t.Helper()
	for range 5 {
		w.sweep()
		w.advance(timing.Timeout/5 + time.Millisecond)
	}
	w.sweep()
}

const (
	home  = `{"url":"https://example.com/","title":"Home"}`
	about = `{"url":"https://example.com/about","title":"About"}`
)

func TestRoutesAreTheSchemas(t *testing.T) {
	t.Parallel()
	doc, err := parser.ParseSchema(&ast.Source{Input: presence.Schema})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"Query", "Mutation", "Subscription"} {
		for _, f := range doc.Definitions.ForName(name).Fields {
			want = append(want, name+"."+f.Name)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, resolvers.Fields()); diff != "" {
		t.Errorf("-schema +routes:\n%s", diff)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.call("alice", "connect", `{"url":"https://me:secret@example.com/a?b=c#part","title":"Home"}`)
	url, title := "https://example.com/a?b=c", "Home"
	want := &presence.Presence{
		UserID: "alice", Status: presence.Online, URL: &url, Title: &title,
		LastSeen: got.AsOf, AsOf: got.AsOf, ExpiresAt: got.AsOf + 75_000, HeartbeatIntervalMs: 30_000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	events := []presence.Event{{Change: presence.Connected, UserID: "alice", Status: presence.Online, AsOf: got.AsOf, LastSeen: got.AsOf, Reason: presence.ReasonConnect}}
	if diff := cmp.Diff(events, w.bus.take()); diff != "" {
		t.Errorf("events: -want +got:\n%s", diff)
	}
	w.call("alice", "connect", `{"url":"https://example.com/a?b=c","title":"Home"}`)
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("published though nothing changed: %v", events)
	}
	w.call("alice", "connect", about)
	if events := w.bus.take(); len(events) != 1 || events[0].Change != presence.Changed {
		t.Errorf("a change of page published %v", events)
	}
}

// Only the announcing mutation acknowledges. Until then, sweeps publish again.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, arguments string
		want              presence.Change
	}{
		"connect": {"", home, presence.Connected},
		// Nobody has acknowledged the connect either.
		"connect-and-page": {home, about, presence.Connected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.before != "" {
				w.call("alice", "connect", test.before)
			}
			w.call("alice", "connect", test.arguments)
			w.bus.take()
			w.advance(10 * time.Second)
			w.sweep()
			if events := w.bus.take(); len(events) != 1 || events[0].Change != test.want {
				t.Errorf("published %v, want %s again", events, test.want)
			}
			got := w.call("", "connected", `{"userId":"alice"}`)
			if diff := cmp.Diff([]string{presence.UserTopic("alice")}, got.Topics); diff != "" {
				t.Errorf("topics: -want +got:\n%s", diff)
			}
			w.advance(time.Minute)
			w.call("alice", "heartbeat", test.arguments)
			w.sweep()
			if events := w.bus.take(); len(events) != 0 {
				t.Errorf("published after it was acknowledged: %v", events)
			}
		})
	}
}

// Clients get no topics: these are for subscribers' filters alone.
func TestNoTopicsForClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range [][2]string{{"connect", home}, {"heartbeat", home}, {"status", `{"userId":"alice"}`}, {"disconnect", `{}`}} {
		if got := w.call("alice", c[0], c[1]); got.Topics != nil {
			t.Errorf("%s answers topics %v", c[0], got.Topics)
		}
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprint("user", i)
	}
	list, _ := json.Marshal(many)
	for name, test := range map[string]struct {
		field, arguments string
		want             []string // users
	}{
		"one":         {"onStatus", `{"userId":"alice"}`, []string{"alice"}},
		"several":     {"onPresence", `{"watch":{"userIds":["alice","bob"]}}`, []string{"alice", "bob"}},
		"bad-ids":     {"onPresence", `{"watch":{"userIds":["alice","","a\u0000",null,"bob"]}}`, []string{"alice", "bob"}},
		"the-most":    {"onPresence", `{"watch":{"userIds":` + string(list) + `}}`, many},
		"by-back-end": {"onStatus", `{"userId":"alice"}`, []string{"alice"}},
	} {
		t.Run(name, func(t *testing.T) {
			caller := "watcher"
			if name == "by-back-end" {
				caller = ""
			}
			var filter struct {
				FilterGroup []struct {
					Filters []struct {
						FieldName, Operator string
						Value               []string
					}
				}
			}
			a := w.invoke(payload(caller, test.field, test.arguments))
			if err := json.Unmarshal(a.Data, &filter); err != nil || len(filter.FilterGroup) > 10 {
				t.Fatalf("%s: %v", a.Data, err)
			}
			var got, want []string
			for _, group := range filter.FilterGroup {
				rule := group.Filters[0]
				if len(group.Filters) != 1 || rule.FieldName != "topics" || rule.Operator != "containsAny" || len(rule.Value) > 20 {
					t.Errorf("rule %v", group)
				}
				got = append(got, rule.Value...)
			}
			for _, id := range test.want {
				want = append(want, presence.UserTopic(id))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.call("alice", "disconnect", `{}`); got.Status != presence.Offline || got.LastSeen != 0 {
		t.Errorf("disconnect of somebody never seen answers %v", got)
	}
	w.call("alice", "connect", home)
	w.bus.take()
	got := w.call("alice", "disconnect", `{}`)
	if got.Status != presence.Offline || got.URL != nil {
		t.Fatalf("got %v, want offline", got)
	}
	events := w.bus.take()
	if len(events) != 1 || events[0].Reason != presence.ReasonDisconnect || events[0].Change != presence.Disconnected {
		t.Errorf("got %v, want one disconnect", events)
	}
}

func TestGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.call("", "connected", `{"userId":"alice"}`)
	w.bus.take()
	if got := w.call("alice", "disconnect", `{"graceMs":5000}`); got.Status != presence.Online {
		t.Errorf("disconnect in grace answers %v", got)
	}
	w.advance(4 * time.Second)
	w.call("alice", "connect", home)
	w.advance(5 * time.Second)
	w.sweep()
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("published %v", events)
	}
	w.call("alice", "disconnect", `{"graceMs":5000}`)
	w.advance(5*time.Second + 10*time.Millisecond)
	w.sweep()
	if events := w.bus.take(); len(events) != 1 || events[0].Status != presence.Offline {
		t.Errorf("got %v, want an offline", events)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	reply := w.invoke(payload("", "statuses", `{"userIds":["bob","alice","bob"]}`)).Data
	var got []presence.Presence
	if err := json.Unmarshal(reply, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].UserID != "bob" || got[1].Status != presence.Online || got[2].Status != presence.Offline {
		t.Errorf("got %s", reply)
	}
	if reply := w.invoke(payload("", "statuses", `{"userIds":[]}`)).Data; string(reply) != "[]" {
		t.Errorf("nobody asked for: %s", reply)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, test := range map[string]struct {
		caller, field, arguments string
		code                     presence.Code
	}{
		"url-not-http":           {"alice", "connect", `{"url":"javascript:alert(1)","title":""}`, presence.InvalidArgument},
		"url-relative":           {"alice", "connect", `{"url":"/page","title":""}`, presence.InvalidArgument},
		"url-without-host":       {"alice", "connect", `{"url":"https:///page","title":""}`, presence.InvalidArgument},
		"url-too-long":           {"alice", "connect", `{"url":"https://x/` + long(2048) + `","title":""}`, presence.InvalidArgument},
		"url-with-newline":       {"alice", "connect", `{"url":"https://x/\n","title":""}`, presence.InvalidArgument},
		"url-with-nul":           {"alice", "connect", `{"url":"https://x/\u0000","title":""}`, presence.InvalidArgument},
		"title-too-long":         {"alice", "connect", `{"url":"https://x","title":"` + long(1025) + `"}`, presence.InvalidArgument},
		"title-with-newline":     {"alice", "connect", `{"url":"https://x","title":"a\nb"}`, presence.InvalidArgument},
		"title-with-c1":          {"alice", "connect", `{"url":"https://x","title":"a\u0085b"}`, presence.InvalidArgument},
		"session-too-long":       {"alice", "connect", `{"url":"","title":"","sessionId":"` + long(129) + `"}`, presence.InvalidArgument},
		"session-with-newline":   {"alice", "disconnect", `{"sessionId":"a\nb"}`, presence.InvalidArgument},
		"url-of-wrong-type":      {"alice", "connect", `{"url":1,"title":""}`, presence.InvalidArgument},
		"arguments-no-object":    {"alice", "connect", `[]`, presence.InvalidArgument},
		"grace-negative":         {"alice", "disconnect", `{"graceMs":-1}`, presence.InvalidArgument},
		"grace-over-timeout":     {"alice", "disconnect", `{"graceMs":75001}`, presence.InvalidArgument},
		"grace-of-wrong-type":    {"alice", "disconnect", `{"graceMs":1.5}`, presence.InvalidArgument},
		"user-empty":             {"alice", "status", `{"userId":""}`, presence.InvalidArgument},
		"user-missing":           {"alice", "status", `{}`, presence.InvalidArgument},
		"user-too-long":          {"alice", "status", `{"userId":"` + long(129) + `"}`, presence.InvalidArgument},
		"user-with-nul":          {"alice", "status", `{"userId":"a\u0000b"}`, presence.InvalidArgument},
		"one-user-of-many":       {"alice", "statuses", `{"userIds":["a",""]}`, presence.InvalidArgument},
		"too-many-users":         {"alice", "statuses", `{"userIds":["` + strings.Repeat(`a","`, 100) + `a"]}`, presence.InvalidArgument},
		"unknown-field":          {"alice", "explode", `{}`, presence.InvalidArgument},
		"iam-connects":           {"", "connect", home, presence.Unauthorized},
		"iam-disconnects":        {"", "disconnect", `{}`, presence.Unauthorized},
		"user-says-connected":    {"alice", "connected", `{"userId":"bob"}`, presence.Unauthorized},
		"user-says-disconnected": {"alice", "disconnected", `{"userId":"bob"}`, presence.Unauthorized},
		"caller-too-long":        {long(129), "connect", home, presence.InvalidArgument},
		"watch-missing":          {"alice", "onPresence", `{}`, presence.InvalidArgument},
		"watch-empty":            {"alice", "onPresence", `{"watch":{}}`, presence.InvalidArgument},
		"watch-nobody":           {"alice", "onPresence", `{"watch":{"userIds":[]}}`, presence.InvalidArgument},
		"watch-nobody-good":      {"alice", "onPresence", `{"watch":{"userIds":["","a\u0000"]}}`, presence.InvalidArgument},
		"watch-too-many":         {"alice", "onPresence", `{"watch":{"userIds":["` + strings.Repeat(`a","`, 200) + `a"]}}`, presence.InvalidArgument},
		"watch-user-empty":       {"alice", "onStatus", `{"userId":""}`, presence.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.invoke(payload(test.caller, test.field, test.arguments))
			if got.Error == nil || got.Error.Type != string(test.code) || got.Error.Message == "" {
				t.Fatalf("got %s %v, want %s", got.Data, got.Error, test.code)
			}
			if sweep, _ := w.store.Sweep(t.Context()); sweep.Online != 0 || sweep.Unannounced != 0 || len(w.bus.take()) != 0 {
				t.Error("something was stored or published")
			}
		})
	}
}

// Who is not a signed-in user may read and nothing else, and only a back end may
// announce.
func TestModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"iam", "identityPool", "apiKey", "other", ""} {
		w := newWorld(t)
		by := `,"caller":{"mode":"` + mode + `","id":"alice"}}`
		for _, call := range []string{`"Mutation.connect","arguments":` + home, `"Query.heartbeat","arguments":` + home, `"Mutation.disconnect","arguments":{}`, `"Mutation.connected","arguments":{"userId":"alice"}`} {
			want := string(presence.Unauthorized)
			if mode == "iam" && strings.Contains(call, "connected") {
				want = ""
			}
			var got string
			if refused := w.invoke([]byte(`{"field":` + call + by)).Error; refused != nil {
				got = refused.Type
			}
			if got != want {
				t.Errorf("%s calls %s: %q, want %q", mode, call, got, want)
			}
		}
		if got := w.invoke([]byte(`{"field":"Query.status","arguments":{"userId":"alice"}` + by)); got.Error != nil {
			t.Errorf("%s reads: %v", mode, got.Error)
		}
	}
}

// Text that is not ours to refuse costs a replaced character, never the call.
func TestB1BrokenText(t *testing.T) {
	t.Parallel()
	for name, title := range map[string]string{
		"high-surrogate": `"Cats \ud83d"`,
		"low-surrogate":  `"Cats \udc31"`,
		"swapped":        `"Cats \udc31\ud83d"`,
		"utf-8":          "\"Cats \xff\"",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.call("alice", "connect", `{"url":"https://example.com/","title":`+title+`,"title":`+title+`}`)
			if want := "Cats \ufffd"; got.Title == nil || !strings.HasPrefix(*got.Title, want) {
				t.Errorf("title %v, want %q", got.Title, want)
			}
			if got := w.status("alice"); got.Title == nil || !utf8.ValidString(*got.Title) {
				t.Errorf("kept title %v", got.Title)
			}
		})
	}
}

func TestNoEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, payload := range []string{"", "{", "[]", "null", "1", "{}", `{"field":""}`, `{"field":"connect"}`, `{"detail-type":"Other"}`} {
		if got := w.invoke([]byte(payload)); got.Error == nil || got.Error.Type != string(presence.InvalidArgument) {
			t.Errorf("%q: %v", payload, got)
		}
	}
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: config.Redis{RedisURL: "redis://127.0.0.1:1"}, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var log strings.Builder
	w := &world{t: t, store: store, bus: &bus{}}
	w.handler = resolvers.New(resolvers.Options{Timing: timing, Store: store, Publisher: w.bus, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	start := time.Now()
	got := w.invoke(payload("alice", "connect", `{"url":"https://private.example/","title":"Secret"}`))
	if got.Error == nil || got.Error.Type != string(presence.Unavailable) {
		t.Errorf("got %v, want Unavailable", got)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if log.Len() == 0 {
		t.Error("the cause is not logged")
	}
	for _, secret := range []string{"private.example", "Secret"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q: %s", secret, log.String())
		}
	}
	if _, err := w.handler.Invoke(t.Context(), []byte(`{"detail-type":"Scheduled Event"}`)); err == nil {
		t.Error("a sweep without Redis succeeds")
	}
}

// A defect fails the invocation, so that Lambda counts it. What it was is for the
// log and not for the caller.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := &world{t: t}
	w.handler = resolvers.New(resolvers.Options{
		Timing: timing, Store: struct{ presence.Store }{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	reply, err := w.handler.Invoke(t.Context(), payload("alice", "connect", home))
	if err == nil || reply != nil || strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("got %s %v, want an error without its cause", reply, err)
	}
	if !strings.Contains(log.String(), "nil pointer") || !strings.Contains(log.String(), "beat.go") {
		t.Errorf("the log does not say what happened: %s", log.String())
	}
}

// The scheduled run stays up, and finds a deadline in the middle of its minute
// when it comes.
func TestSweepStaysUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Unix(1_800_000_000, 0)
	w.handler.SweepFor = 50 * time.Second
	w.handler.Now = func() time.Time { return now }
	var found time.Duration
	start := now
	w.handler.Sleep = func(_ context.Context, d time.Duration) error {
		if d > time.Second {
			t.Errorf("sleeps for %v", d)
		}
		if found == 0 && len(w.bus.take()) > 0 {
			found = now.Sub(start)
		}
		now = now.Add(d)
		w.advance(d)
		return nil
	}
	w.call("alice", "connect", home)
	w.call("", "connected", `{"userId":"alice"}`)
	w.bus.take()
	w.call("alice", "disconnect", `{"graceMs":20000}`)
	w.sweep()
	if found < 20*time.Second || found > 20*time.Second+200*time.Millisecond {
		t.Errorf("found after %v, want at 20s", found)
	}
	if up := now.Sub(start); up < 48*time.Second || up > 50*time.Second {
		t.Errorf("stayed up for %v, want 50s", up)
	}
}
