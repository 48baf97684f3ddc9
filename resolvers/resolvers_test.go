package resolvers_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
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

const everything = "userId status url title lastSeen asOf expiresAt heartbeatIntervalMs"

// payload is the event of a field, as AppSync makes it. A caller of "" is IAM.
func (w *world) payload(caller, field, arguments string, selection []string, text string) []byte {
	w.t.Helper()
	parent := "Mutation"
	if strings.HasPrefix(field, "status") {
		parent = "Query"
	}
	identity := map[string]any{"sub": caller, "username": caller, "issuer": "https://issuer", "claims": map[string]any{"sub": caller}}
	if caller == "" {
		identity = map[string]any{"userArn": "arn:aws:sts::123456789012:assumed-role/events/x", "accountId": "123456789012"}
	}
	payload, err := json.Marshal(map[string]any{
		"arguments": json.RawMessage(arguments),
		"identity":  identity,
		"source":    nil,
		"request":   map[string]any{"headers": map[string]string{"authorization": "secret-token"}},
		"info": map[string]any{
			"fieldName": field, "parentTypeName": parent, "variables": map[string]any{},
			"selectionSetList": selection, "selectionSetGraphQL": text,
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return payload
}

// invoke calls a field.
func (w *world) invoke(caller, field, arguments, selection string) (json.RawMessage, error) {
	w.t.Helper()
	fields := strings.Fields(selection)
	return w.handler.Invoke(w.t.Context(), w.payload(caller, field, arguments, fields, "{\n  "+strings.Join(fields, "\n  ")+"\n}"))
}

// call calls a field that must answer, and returns the Presence or nil.
func (w *world) call(caller, field, arguments string) *presence.Presence {
	w.t.Helper()
	reply, err := w.invoke(caller, field, arguments, everything)
	if err != nil {
		w.t.Fatalf("%s %s: %v", caller, field, err)
	}
	var p *presence.Presence
	if err := json.Unmarshal(reply, &p); err != nil {
		w.t.Fatal(err)
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
	for _, name := range []string{"Query", "Mutation"} {
		for _, f := range doc.Definitions.ForName(name).Fields {
			want = append(want, name+"."+f.Name)
		}
	}
	var got []string
	for _, f := range resolvers.Fields() {
		got = append(got, f.Type+"."+f.Name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
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
	events := []presence.Event{{UserID: "alice", Status: presence.Online, AsOf: got.AsOf, LastSeen: got.AsOf, Reason: presence.ReasonConnect, Announced: true}}
	if diff := cmp.Diff(events, w.bus.take()); diff != "" {
		t.Errorf("events: -want +got:\n%s", diff)
	}
	// Announced by its own answer, so there is nothing left to do.
	w.advance(time.Hour)
	w.store.Sweep(t.Context())
	w.call("alice", "connect", home)
	w.bus.take()
	w.call("alice", "connect", about)
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("a page change that subscribers were told of was published: %v", events)
	}
}

// A lazy client's selection would rob subscribers of what it leaves out, so
// the whole presence follows.
func TestConnectWithShortSelection(t *testing.T) {
	t.Parallel()
	for name, selection := range map[string]struct {
		list, text string
	}{
		"short":     {"userId status", "{ userId status }"},
		"interval":  {"userId status url title lastSeen asOf expiresAt", "{ userId status url title lastSeen asOf expiresAt }"},
		"aliased":   {everything, "{ userId: title status url title lastSeen asOf expiresAt heartbeatIntervalMs }"},
		"fragment":  {everything, "{ ...Aliased }"}, // The text leaves it unopened.
		"directive": {everything, "{ userId status @skip(if: true) url title lastSeen asOf expiresAt heartbeatIntervalMs }"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			payload := w.payload("alice", "connect", home, strings.Fields(selection.list), selection.text)
			reply, err := w.handler.Invoke(t.Context(), payload)
			if err != nil {
				t.Fatal(err)
			}
			// Subscribers get the answer as far as it is selected, and must not take it
			// for news, even when there is none.
			again, err := w.handler.Invoke(t.Context(), payload)
			if err != nil {
				t.Fatal(err)
			}
			for _, reply := range [][]byte{reply, again} {
				var p presence.Presence
				if err := json.Unmarshal(reply, &p); err != nil || p.AsOf != 0 {
					t.Errorf("answers %s, want no asOf (%v)", reply, err)
				}
			}
			events := w.bus.take()
			if len(events) != 1 || events[0].Announced {
				t.Fatalf("got %v, want one event to announce", events)
			}
			w.advance(10 * time.Second)
			w.sweep()
			if len(w.bus.take()) != 1 {
				t.Error("not published again though nobody acknowledged")
			}
			w.call("", "connected", `{"userId":"alice"}`)
			w.advance(time.Minute)
			w.call("alice", "heartbeat", home)
			w.sweep()
			if events := w.bus.take(); len(events) != 0 {
				t.Errorf("published after it was acknowledged: %v", events)
			}
		})
	}
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.call("alice", "disconnect", `{}`); got != nil {
		t.Errorf("disconnect of somebody offline answers %v, want null", got)
	}
	w.call("alice", "connect", home)
	w.bus.take()
	got := w.call("alice", "disconnect", `{}`)
	if got == nil || got.Status != presence.Offline || got.URL != nil {
		t.Fatalf("got %v, want offline", got)
	}
	events := w.bus.take()
	if len(events) != 1 || events[0].Reason != presence.ReasonDisconnect || !events[0].Announced {
		t.Errorf("got %v, want one announced disconnect", events)
	}
}

func TestGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.bus.take()
	if got := w.call("alice", "disconnect", `{"graceMs":5000}`); got != nil {
		t.Errorf("disconnect in grace answers %v, want null: subscribers would be sent it", got)
	}
	w.advance(4 * time.Second)
	w.call("alice", "connect", home)
	w.advance(5 * time.Second)
	w.sweep()
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("somebody hears of %v", events)
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
	reply, err := w.invoke("", "statuses", `{"userIds":["bob","alice","bob"]}`, everything)
	if err != nil {
		t.Fatal(err)
	}
	var got []presence.Presence
	if err := json.Unmarshal(reply, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].UserID != "bob" || got[1].Status != presence.Online || got[2].Status != presence.Offline {
		t.Errorf("got %s", reply)
	}
	if reply, err := w.invoke("", "statuses", `{"userIds":[]}`, everything); err != nil || string(reply) != "[]" {
		t.Errorf("nobody asked for: %s, %v", reply, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, test := range map[string]struct {
		caller, field, arguments string
		code                     presence.Code
	}{
		"no-arguments":           {"alice", "connect", `{}`, presence.InvalidArgument},
		"no-title":               {"alice", "heartbeat", `{"url":"https://x"}`, presence.InvalidArgument},
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.invoke(test.caller, test.field, test.arguments, everything)
			// A value, not a pointer and not wrapped: Lambda looks for just that.
			refusal, ok := err.(messages.InvokeResponse_Error) //nolint:errorlint // see above
			if !ok || refusal.Type != string(test.code) || refusal.Message == "" {
				t.Fatalf("got %#v, want %s", err, test.code)
			}
			if sweep, _ := w.store.Sweep(t.Context()); sweep.Online != 0 || sweep.Unannounced != 0 || len(w.bus.take()) != 0 {
				t.Error("something was stored or published")
			}
		})
	}
}

func TestNoIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.handler.Invoke(t.Context(), []byte(`{"arguments":`+home+`,"identity":null,"info":{"fieldName":"connect","parentTypeName":"Mutation"}}`))
	if refusal, ok := err.(messages.InvokeResponse_Error); !ok || refusal.Type != string(presence.Unauthorized) { //nolint:errorlint // Lambda looks for just that
		t.Errorf("got %v, want Unauthorized", err)
	}
}

func TestNoEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, payload := range []string{"", "{", "[]", "null", "1", "{}", `{"info":{}}`, `{"info":{"fieldName":"connect"}}`, `{"detail-type":"Other"}`} {
		if _, err := w.handler.Invoke(t.Context(), []byte(payload)); err == nil {
			t.Errorf("%q: no error", payload)
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
	_, err = w.invoke("alice", "connect", `{"url":"https://private.example/","title":"Secret"}`, everything)
	if refusal, ok := err.(messages.InvokeResponse_Error); !ok || refusal.Type != string(presence.Unavailable) { //nolint:errorlint // Lambda looks for just that
		t.Errorf("got %v, want Unavailable", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if log.Len() == 0 {
		t.Error("the cause is not logged")
	}
	for _, secret := range []string{"private.example", "Secret", "secret-token"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q: %s", secret, log.String())
		}
	}
	if _, err := w.handler.Invoke(t.Context(), []byte(`{"detail-type":"Scheduled Event"}`)); err == nil {
		t.Error("a sweep without Redis succeeds")
	}
}

// A defect of ours is one for the log: the caller is told no more than that.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := &world{t: t}
	w.handler = resolvers.New(resolvers.Options{
		Timing: timing, Store: struct{ presence.Store }{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	_, err := w.invoke("alice", "connect", home, everything)
	refusal, ok := err.(messages.InvokeResponse_Error) //nolint:errorlint // Lambda looks for just that
	if !ok || refusal.Type != string(presence.Internal) || strings.Contains(refusal.Message, "nil pointer") {
		t.Errorf("got %#v, want Internal and not its cause", err)
	}
	if !strings.Contains(log.String(), "nil pointer") || !strings.Contains(log.String(), "connect.go") {
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
