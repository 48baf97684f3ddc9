package eventbridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"presence/internal/local/eventbridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const everything = `{"source":["test"]}`

// inbox is a target that keeps what it gets.
type inbox struct {
	mu     sync.Mutex
	inputs []string
}

func (in *inbox) target(_ context.Context, input []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inputs = append(in.inputs, string(input))
	return nil
}

func (in *inbox) all() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.inputs)
}

func newServer(t testing.TB, opts eventbridge.Options) *eventbridge.Server {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s, err := eventbridge.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// drain waits until every event has been delivered or given up.
func drain(t testing.TB, s *eventbridge.Server) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// post sends a PutEvents as the SDK does.
func post(t testing.TB, s *eventbridge.Server, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 …")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// put sends one event of the source test to the default bus.
func put(t testing.TB, s *eventbridge.Server, detail string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"Entries": []any{map[string]any{"Source": "test", "DetailType": "type", "Detail": detail}}})
	if err != nil {
		t.Fatal(err)
	}
	if w := post(t, s, string(body)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"FailedEntryCount":0`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	var in inbox
	s := newServer(t, eventbridge.Options{
		Region: "eu-central-1", Account: "123456789012",
		Rules: []eventbridge.Rule{{Name: "all", Bus: "default", Pattern: everything, Target: in.target}},
	})
	w := post(t, s, `{"Entries":[{"Source":"test","DetailType":"a type","Detail":"{\"n\": 12345678901234567890}","Time":1767323045,"Resources":["r"]},
		{"Source":"test","DetailType":"b","Detail":"{}"}]}`)
	var out struct {
		Entries []struct {
			EventID string `json:"EventId"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	got := in.all()
	slices.Sort(got)
	want := []string{
		`{"version":"0","id":"` + out.Entries[0].EventID + `","detail-type":"a type","source":"test","account":"123456789012",` +
			`"time":"2026-01-02T03:04:05Z","region":"eu-central-1","resources":["r"],"detail":{"n":12345678901234567890}}`,
	}
	got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, `"detail-type":"b"`) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		bus  string
		want int
	}{
		"default":       {"default", 1},
		"none":          {"", 1},
		"arn":           {"arn:aws:events:us-east-1:000000000000:event-bus/default", 1},
		"unknown":       {"nobody", 0},
		"unknown-arn":   {"arn:aws:events:us-east-1:000000000000:event-bus/nobody", 0},
		"other-has-one": {"other", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in inbox
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{
				{Bus: "default", Pattern: everything, Target: in.target},
				{Bus: "other", Pattern: `{"source":["else"]}`, Target: in.target},
			}})
			w := post(t, s, `{"Entries":[{"Source":"test","DetailType":"t","Detail":"{}","EventBusName":"`+tt.bus+`"}]}`)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"FailedEntryCount":0`) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			drain(t, s)
			if got := len(in.all()); got != tt.want {
				t.Errorf("%d deliveries, want %d", got, tt.want)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	const detail = `{"late":false,"status":"offline","n":5,"deep":{"tags":["a","b"]}}`
	for name, tt := range map[string]struct {
		pattern string
		want    int
	}{
		"source":           {everything, 1},
		"boolean":          {`{"detail":{"late":[false]}}`, 1},
		"boolean-other":    {`{"detail":{"late":[true]}}`, 0},
		"boolean-string":   {`{"detail":{"late":["false"]}}`, 0},
		"any-of":           {`{"detail":{"status":["online","offline"]}}`, 1},
		"all-of":           {`{"source":["test"],"detail":{"status":["online"]}}`, 0},
		"prefix":           {`{"detail-type":[{"prefix":"ty"}]}`, 1},
		"anything-but":     {`{"detail":{"status":[{"anything-but":["offline"]}]}}`, 0},
		"exists":           {`{"detail":{"n":[{"exists":true}]}}`, 1},
		"exists-not":       {`{"detail":{"gone":[{"exists":false}]}}`, 1},
		"in-array":         {`{"detail":{"deep":{"tags":["b"]}}}`, 1},
		"account-of-event": {`{"account":["000000000000"],"region":["us-east-1"]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in inbox
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{Bus: "default", Pattern: tt.pattern, Target: in.target}}})
			put(t, s, detail)
			drain(t, s)
			if got := len(in.all()); got != tt.want {
				t.Errorf("%d deliveries, want %d", got, tt.want)
			}
		})
	}
}

func TestNewRefusesBadPatterns(t *testing.T) {
	t.Parallel()
	for name, pattern := range map[string]string{"empty": "", "no-json": "x", "no-array": `{"source":"test"}`, "operator": `{"source":[{"near":"x"}]}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := eventbridge.New(eventbridge.Options{Rules: []eventbridge.Rule{{Name: "r", Bus: "b", Pattern: pattern}}}); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestInputTransformer(t *testing.T) {
	t.Parallel()
	paths := map[string]string{"user": "$.detail.userId", "n": "$.detail.n", "type": "$.detail-type", "detail": "$.detail", "gone": "$.detail.gone", "deep": "$.detail.userId.x"}
	const detail = `{"userId":"a \"b\" <n>","n":[1,{"x":"y"}]}`
	for name, tt := range map[string]struct{ template, want string }{
		"value":         {`{"userId":<user>}`, `{"userId":"a \"b\" <n>"}`},
		"inside-string": {`{"text":"user <user> of <type>"}`, `{"text":"user a \"b\" <n> of type"}`},
		"json-value":    {`{"n":<n>}`, `{"n":[1,{"x":"y"}]}`},
		"json-quoted":   {`{"n":"<n>"}`, `{"n":"[1,{\"x\":\"y\"}]"}`},
		"escaped-quote": {`{"text":"\"<type>\""}`, `{"text":"\"type\""}`},
		"unknown-name":  {`{"a":"<nobody> < b"}`, `{"a":"<nobody> < b"}`},
		"no-path":       {`{"a":<gone>}`, ``},
		"path-too-deep": {`{"a":<deep>}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in inbox
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{
				Bus: "default", Pattern: everything, InputPaths: paths, InputTemplate: tt.template, Target: in.target,
			}}})
			put(t, s, detail)
			drain(t, s)
			got := strings.ReplaceAll(strings.Join(in.all(), "\n"), `\u003c`, `<`)
			got = strings.ReplaceAll(got, `\u003e`, `>`)
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if letters := len(s.DeadLetters()); letters != 0 != (tt.want == "") {
				t.Errorf("%d dead letters", letters)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for name, tt := range map[string]struct {
		err         error
		failures    int
		maxAge      time.Duration
		wantCalls   int
		wantLetters int
	}{
		"recovers":         {away, 3, 0, 4, 0},
		"permanent":        {eventbridge.Permanent{Err: away}, 1, 0, 1, 1},
		"too-old":          {away, 1000, 0, -1, 1},
		"too-old-at-once":  {away, 1000, time.Nanosecond, 1, 1},
		"too-many":         {away, 1000, 24 * time.Hour, 185, 1},
		"recovers-after-1": {away, 1, 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				var last time.Time
				s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{
					Name: "r", Bus: "default", Pattern: everything, MaxAge: tt.maxAge,
					Target: func(context.Context, []byte) error {
						calls++
						last = time.Now()
						if calls <= tt.failures {
							return tt.err
						}
						return nil
					},
				}}})
				begin := time.Now()
				put(t, s, `{}`)
				time.Sleep(24 * time.Hour) // Virtual.
				synctest.Wait()
				if tt.wantCalls >= 0 && calls != tt.wantCalls {
					t.Errorf("%d calls, want %d", calls, tt.wantCalls)
				}
				if tt.maxAge == 0 && last.Sub(begin) > time.Minute {
					t.Errorf("still tried after %v", last.Sub(begin))
				}
				letters := s.DeadLetters()
				if len(letters) != tt.wantLetters {
					t.Fatalf("%d dead letters, want %d", len(letters), tt.wantLetters)
				}
				for _, l := range letters {
					if l.Rule != "r" || l.Attempts != calls || !errors.Is(l.Err, away) || !strings.Contains(string(l.Event), `"source":"test"`) {
						t.Errorf("%+v", l)
					}
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	t.Run("waits-for-a-call", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			done := false
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{Bus: "default", Pattern: everything, Target: func(ctx context.Context, _ []byte) error {
				time.Sleep(3 * time.Second) // Virtual.
				done = ctx.Err() == nil
				return nil
			}}}})
			put(t, s, `{}`)
			synctest.Wait()
			if err := s.Close(t.Context()); err != nil || !done {
				t.Errorf("%v, done %v", err, done)
			}
		})
	})
	t.Run("aborts-a-call", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{Bus: "default", Pattern: everything, Target: func(ctx context.Context, _ []byte) error {
				<-ctx.Done()
				return ctx.Err()
			}}}})
			put(t, s, `{}`)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		})
	})
	t.Run("gives-up-waiting-tries", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{Bus: "default", Pattern: everything, Target: func(context.Context, []byte) error {
				return errors.New("away")
			}}}})
			put(t, s, `{}`)
			synctest.Wait()
			begin := time.Now()
			if err := s.Close(t.Context()); err != nil || time.Since(begin) != 0 {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
			if w := post(t, s, `{"Entries":[{"Source":"test","DetailType":"t","Detail":"{}"}]}`); w.Code != http.StatusServiceUnavailable {
				t.Errorf("%d after Close", w.Code)
			}
		})
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	// run puts 200 events and returns the details in the order of delivery, with
	// how many calls and entries were refused, and how long it took.
	run := func(t *testing.T, f eventbridge.Faults) (details []int, throttled, rejected int, took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var mu sync.Mutex
			s := newServer(t, eventbridge.Options{Rules: []eventbridge.Rule{{
				Bus: "default", Pattern: everything, InputPaths: map[string]string{"n": "$.detail.n"}, InputTemplate: "<n>",
				Target: func(_ context.Context, input []byte) error {
					var n int
					_ = json.Unmarshal(input, &n)
					mu.Lock()
					defer mu.Unlock()
					details = append(details, n)
					took = max(took, time.Since(begin))
					return nil
				},
			}}})
			s.SetFaults(f)
			for i := range 200 {
				detail, _ := json.Marshal(map[string]int{"n": i})
				body, _ := json.Marshal(map[string]any{"Entries": []any{map[string]any{"Source": "test", "DetailType": "t", "Detail": string(detail)}}})
				switch w := post(t, s, string(body)); {
				case strings.Contains(w.Body.String(), "ThrottlingException"):
					throttled++
				case strings.Contains(w.Body.String(), "InternalFailure"):
					rejected++
				}
				synctest.Wait()
			}
			time.Sleep(time.Hour) // Virtual.
		})
		return details, throttled, rejected, took
	}
	between := func(t *testing.T, what string, n, low, high int) {
		t.Helper()
		if n < low || n > high {
			t.Errorf("%s: %d, want %d to %d", what, n, low, high)
		}
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		details, throttled, rejected, took := run(t, eventbridge.Faults{})
		if len(details) != 200 || !slices.IsSorted(details) || throttled+rejected != 0 || took != 0 {
			t.Errorf("%d deliveries, %d throttled, %d rejected, %v", len(details), throttled, rejected, took)
		}
	})
	t.Run("throttle", func(t *testing.T) {
		t.Parallel()
		details, throttled, _, _ := run(t, eventbridge.Faults{Throttle: 0.3})
		between(t, "throttled", throttled, 40, 80)
		if len(details) != 200-throttled {
			t.Errorf("%d deliveries", len(details))
		}
	})
	t.Run("reject", func(t *testing.T) {
		t.Parallel()
		details, _, rejected, _ := run(t, eventbridge.Faults{Reject: 0.3})
		between(t, "rejected", rejected, 40, 80)
		if len(details) != 200-rejected {
			t.Errorf("%d deliveries", len(details))
		}
	})
	t.Run("drop", func(t *testing.T) {
		t.Parallel()
		details, throttled, rejected, _ := run(t, eventbridge.Faults{Drop: 0.5})
		between(t, "deliveries", len(details), 70, 130)
		if throttled+rejected != 0 {
			t.Error("drops are not to be seen by the caller")
		}
	})
	t.Run("drop-all", func(t *testing.T) {
		t.Parallel()
		if details, _, _, _ := run(t, eventbridge.Faults{Drop: 1}); len(details) != 0 {
			t.Errorf("%d deliveries", len(details))
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		t.Parallel()
		details, _, _, _ := run(t, eventbridge.Faults{Duplicate: 0.5})
		between(t, "deliveries", len(details), 270, 330)
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		if details, _, _, took := run(t, eventbridge.Faults{Delay: 3 * time.Minute}); len(details) != 200 || took != 3*time.Minute {
			t.Errorf("%d deliveries after %v", len(details), took)
		}
	})
	t.Run("reorder", func(t *testing.T) {
		t.Parallel()
		details, _, _, took := run(t, eventbridge.Faults{Reorder: time.Second})
		if len(details) != 200 || slices.IsSorted(details) || took > time.Second {
			t.Errorf("%d deliveries, in order %v, after %v", len(details), slices.IsSorted(details), took)
		}
	})
	t.Run("repeatable", func(t *testing.T) {
		t.Parallel()
		f := eventbridge.Faults{Seed: 7, Reject: 0.2, Throttle: 0.2, Duplicate: 0.2, Drop: 0.2}
		one, _, _, _ := run(t, f)
		two, _, _, _ := run(t, f)
		f.Seed = 8
		three, _, _, _ := run(t, f)
		if !slices.Equal(one, two) || slices.Equal(one, three) {
			t.Error("the seed does not decide")
		}
	})
}

func TestRequestsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, eventbridge.Options{Authorize: func(r *http.Request, body []byte) error {
		if r.Header.Get("Authorization") != "good" || len(body) == 0 {
			return errors.New("The signature does not match.")
		}
		return nil
	}})
	const one = `{"Entries":[{"Source":"s","DetailType":"t","Detail":"{}"}]}`
	for name, tt := range map[string]struct {
		method, target, authorization, body string
		status                              int
		code                                string
	}{
		"good":              {"POST", "AWSEvents.PutEvents", "good", one, 200, ""},
		"get":               {"GET", "AWSEvents.PutEvents", "good", one, 400, "UnknownOperationException"},
		"other-operation":   {"POST", "AWSEvents.PutRule", "good", one, 400, "UnknownOperationException"},
		"no-operation":      {"POST", "", "good", one, 400, "UnknownOperationException"},
		"unsigned":          {"POST", "AWSEvents.PutEvents", "", one, 403, "MissingAuthenticationTokenException"},
		"badly-signed":      {"POST", "AWSEvents.PutEvents", "bad", one, 403, "InvalidSignatureException"},
		"no-json":           {"POST", "AWSEvents.PutEvents", "good", "meow", 400, "SerializationException"},
		"wrong-types":       {"POST", "AWSEvents.PutEvents", "good", `{"Entries":[{"Source":1}]}`, 400, "SerializationException"},
		"detail-no-string":  {"POST", "AWSEvents.PutEvents", "good", `{"Entries":[{"Source":"s","DetailType":"t","Detail":{}}]}`, 400, "SerializationException"},
		"no-entries":        {"POST", "AWSEvents.PutEvents", "good", `{}`, 400, "ValidationException"},
		"body-over-2-MB":    {"POST", "AWSEvents.PutEvents", "good", strings.Repeat(" ", 2<<20+1), 413, "RequestEntityTooLargeException"},
		"entries-over-size": {"POST", "AWSEvents.PutEvents", "good", `{"Entries":[{"Source":"s","DetailType":"t","Detail":"` + strings.Repeat(" ", 256<<10) + `{}"}]}`, 400, "ValidationException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			r.Header.Set("X-Amz-Target", tt.target)
			r.Header.Set("Authorization", tt.authorization)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status || w.Header().Get("X-Amzn-ErrorType") != tt.code {
				t.Errorf("%d %s: %s", w.Code, w.Header().Get("X-Amzn-ErrorType"), w.Body)
			}
		})
	}
}

// Whatever comes as a body, the answer is a typed refusal, or one result for
// each entry with as many errors as FailedEntryCount says.
func FuzzPutEvents(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `null`, `{"Entries":null}`, `{"Entries":[null]}`, `{"Entries":[{}]}`,
		`{"Entries":[{"Source":"test","DetailType":"t","Detail":"{\"userId\":\"a\",\"late\":false}"}]}`,
		`{"Entries":[{"Source":"test","DetailType":"t","Detail":"[]","Time":-1},{"Source":"aws.x","DetailType":"t","Detail":"{}"}]}`,
		`{"Entries":[{"Source":"test","DetailType":"t","Detail":"{\"a\":1e999,\"\":[[{}]]}","Time":1e300,"Resources":[""]}]}`,
		"{\"Entries\":[{\"Source\":\"test\",\"DetailType\":\"\xff\",\"Detail\":\"{\\\"userId\\\":\\\"\\\\ud800\\\"}\"}]}",
	} {
		f.Add(seed)
	}
	s := newServer(f, eventbridge.Options{Rules: []eventbridge.Rule{{
		Bus: "default", Pattern: `{"source":["test"]}`,
		InputPaths: map[string]string{"u": "$.detail.userId"}, InputTemplate: `{"u":<u>,"s":"<u>"}`,
		Target: func(_ context.Context, input []byte) error {
			if !json.Valid(input) {
				panic("no JSON: " + string(input))
			}
			return nil
		},
	}}})
	f.Fuzz(func(t *testing.T, body string) {
		w := post(t, s, body)
		answer, _ := io.ReadAll(w.Body)
		if w.Code != http.StatusOK {
			var e struct {
				Type string `json:"__type"`
			}
			if err := json.Unmarshal(answer, &e); err != nil || e.Type == "" || w.Code >= 500 {
				t.Fatalf("%d %s", w.Code, answer)
			}
			return
		}
		var in struct{ Entries []json.RawMessage }
		var out struct {
			FailedEntryCount int
			Entries          []struct {
				EventID   string `json:"EventId"`
				ErrorCode string
			}
		}
		if err := errors.Join(json.Unmarshal([]byte(body), &in), json.Unmarshal(answer, &out)); err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, e := range out.Entries {
			if (e.EventID == "") == (e.ErrorCode == "") {
				t.Fatalf("%+v", e)
			}
			if e.ErrorCode != "" {
				failed++
			}
		}
		if len(in.Entries) != len(out.Entries) || failed != out.FailedEntryCount {
			t.Fatalf("%s", answer)
		}
	})
}
