package eventbus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/eventbus"
	local "presence/internal/local/eventbridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func events(n int) []presence.Event {
	list := make([]presence.Event, n)
	for i := range list {
		list[i] = presence.Event{
			Change: presence.Disconnected, UserID: fmt.Sprintf("user-%d", i), Status: presence.Offline, AsOf: 1767323045678, LastSeen: 1767322970000, Reason: presence.ReasonTimeout,
		}
	}
	return list
}

// roundTripper answers without a network, so that time can be virtual.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Do(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// accept answers that all entries were taken.
func accept(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	n := bytes.Count(body, []byte(`"Detail":`))
	return respond(200, `{"FailedEntryCount":0,"Entries":[`+strings.TrimSuffix(strings.Repeat(`{"EventId":"x"},`, n), ",")+`]}`)
}

func publisher(do roundTripper) *eventbus.Publisher {
	return eventbus.New(eventbridge.New(eventbridge.Options{
		Region: "us-east-1", HTTPClient: do,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AK", SecretAccessKey: "secret"}, nil
		}),
	}), "presence")
}

// bus is a local EventBridge behind HTTP and what its rule has delivered.
type bus struct {
	*local.Server
	calls atomic.Int32
	pub   *eventbus.Publisher

	mu  sync.Mutex
	got map[string]int // envelope without what differs each time: deliveries
}

func serve(t testing.TB, pattern string) *bus {
	t.Helper()
	b := &bus{got: map[string]int{}}
	var err error
	b.Server, err = local.New(local.Options{Logger: slog.New(slog.DiscardHandler), Rules: []local.Rule{{
		Name: "all", Bus: "presence", Pattern: pattern,
		Target: func(_ context.Context, input []byte) error {
			var event struct {
				Source     string          `json:"source"`
				DetailType string          `json:"detail-type"`
				Detail     json.RawMessage `json:"detail"`
			}
			if err := json.Unmarshal(input, &event); err != nil {
				return err
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got[event.Source+" "+event.DetailType+" "+string(event.Detail)]++
			return nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.calls.Add(1)
		b.ServeHTTP(w, r)
	}))
	env := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
		"AWS_ENDPOINT_URL_EVENTBRIDGE": srv.URL, "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
	}
	client, err := eventbus.Client(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	b.pub = eventbus.New(client, "presence")
	t.Cleanup(func() {
		srv.Close()
		_ = b.Close(context.Background())
	})
	return b
}

const all = `{"source":["api.presence"]}`

func TestPublish(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ events, calls int }{
		"none":        {0, 0},
		"one":         {1, 1},
		"ten":         {10, 1},
		"eleven":      {11, 2},
		"two-hundred": {200, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := serve(t, all)
			failed, err := b.pub.Publish(t.Context(), events(tt.events))
			if failed != 0 || err != nil {
				t.Fatalf("%d failed: %v", failed, err)
			}
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{}
			for _, e := range events(tt.events) {
				want[`api.presence presence.disconnected {"userId":"`+e.UserID+
					`","status":"offline","asOf":"2026-01-02T03:04:05.678Z","lastSeen":"2026-01-02T03:02:50.000Z","reason":"timeout"}`] = 1
			}
			if diff := cmp.Diff(want, b.got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if n := int(b.calls.Load()); n != tt.calls {
				t.Errorf("%d calls, want %d", n, tt.calls)
			}
		})
	}
}

// Entries too large for one call together go in several.
func TestPublishKeepsCallsSmall(t *testing.T) {
	t.Parallel()
	b := serve(t, all)
	list := events(4)
	for i := range list {
		list[i].UserID = strings.Repeat("x", 60<<10) + list[i].UserID
	}
	if failed, err := b.pub.Publish(t.Context(), list); failed != 0 || err != nil {
		t.Fatalf("%d failed: %v", failed, err)
	}
	if n := b.calls.Load(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// Under faults every event is delivered once or counted as failed: nothing is
// lost in silence.
func TestPublishUnderFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		faults local.Faults
		failed func(int) bool
	}{
		"entries-fail":   {local.Faults{Reject: 0.3}, func(n int) bool { return n < 20 }},
		"throttled":      {local.Faults{Throttle: 0.3}, func(n int) bool { return n <= 50 }},
		"all-fail":       {local.Faults{Reject: 1}, func(n int) bool { return n == 400 }},
		"all-throttled":  {local.Faults{Throttle: 1}, func(n int) bool { return n == 400 }},
		"both-sometimes": {local.Faults{Reject: 0.2, Throttle: 0.2, Seed: 1}, func(n int) bool { return n <= 60 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := serve(t, all)
			b.SetFaults(tt.faults)
			failed, err := b.pub.Publish(t.Context(), events(400))
			if !tt.failed(failed) || (failed > 0) != (err != nil) {
				t.Errorf("%d failed: %v", failed, err)
			}
			if err != nil && presence.AsError(err).Code != presence.Unavailable {
				t.Errorf("got %v, want Unavailable", err)
			}
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(b.got)+failed != 400 {
				t.Errorf("%d delivered and %d failed of 400", len(b.got), failed)
			}
			for event, n := range b.got {
				if n != 1 {
					t.Errorf("%s: %d times", event, n)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status    int
		body      string
		wantCalls int
	}{
		"throttled":       {400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`, 4},
		"internal":        {500, `{"__type":"InternalException"}`, 4},
		"denied":          {403, `{"__type":"AccessDeniedException","message":"no"}`, 1},
		"invalid":         {400, `{"__type":"ValidationException","message":"no"}`, 1},
		"entry-throttled": {200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException"}]}`, 4},
		"entry-internal":  {200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"InternalFailure","ErrorMessage":"x"}]}`, 4},
		"entry-malformed": {200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"MalformedDetail"}]}`, 1},
		"short-answer":    {200, `{"FailedEntryCount":1,"Entries":[]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				pub := publisher(func(*http.Request) (*http.Response, error) {
					calls++
					return respond(tt.status, tt.body)
				})
				begin := time.Now()
				failed, err := pub.Publish(t.Context(), events(1))
				if failed != 1 || presence.AsError(err).Code != presence.Unavailable || calls != tt.wantCalls {
					t.Errorf("%d failed after %d calls: %v", failed, calls, err)
				}
				if took := time.Since(begin); took > 400*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if strings.Contains(err.Error(), "user-0") {
					t.Errorf("the error shows a detail: %v", err)
				}
			})
		})
	}
}

// Only what failed is sent again.
func TestRetriesOnlyFailedEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		pub := publisher(func(r *http.Request) (*http.Response, error) {
			var in struct{ Entries []struct{ Detail string } }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			var users []string
			for _, e := range in.Entries {
				var event presence.Event
				_ = json.Unmarshal([]byte(e.Detail), &event)
				users = append(users, event.UserID)
			}
			sent = append(sent, users)
			if len(sent) == 1 {
				return respond(200, `{"FailedEntryCount":3,"Entries":[{"ErrorCode":"InternalFailure"},{"EventId":"a"},{"ErrorCode":"InvalidArgument"},{"ErrorCode":"ThrottlingException"}]}`)
			}
			return respond(200, `{"FailedEntryCount":0,"Entries":[{"EventId":"a"},{"EventId":"b"}]}`)
		})
		failed, err := pub.Publish(t.Context(), events(4))
		if failed != 1 || err == nil {
			t.Errorf("%d failed: %v", failed, err)
		}
		if diff := cmp.Diff([][]string{{"user-0", "user-1", "user-2", "user-3"}, {"user-0", "user-3"}}, sent); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestNothingHangs(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	t.Run("without-a-deadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			failed, err := publisher(hang).Publish(t.Context(), events(30))
			if took := time.Since(begin); failed != 30 || err == nil || took < 8*time.Second || took > 9*time.Second {
				t.Errorf("%d failed after %v: %v", failed, took, err)
			}
		})
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			begin := time.Now()
			failed, err := publisher(hang).Publish(ctx, events(300))
			if took := time.Since(begin); failed != 300 || !errors.Is(err, context.DeadlineExceeded) || took != 700*time.Millisecond {
				t.Errorf("%d failed after %v: %v", failed, took, err)
			}
		})
	})
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			begin := time.Now()
			failed, err := publisher(func(*http.Request) (*http.Response, error) {
				calls++
				return nil, errors.New("connection refused")
			}).Publish(t.Context(), events(1))
			if took := time.Since(begin); failed != 1 || err == nil || calls != 4 || took > 400*time.Millisecond {
				t.Errorf("%d failed in %d calls after %v: %v", failed, calls, took, err)
			}
		})
	})
}

func TestCallsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		pub := publisher(func(r *http.Request) (*http.Response, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(10 * time.Millisecond) // Virtual, as is the time that is compared.
			return accept(r)
		})
		begin := time.Now()
		if failed, err := pub.Publish(t.Context(), events(1000)); failed != 0 || err != nil {
			t.Errorf("%d failed: %v", failed, err)
		}
		if most.Load() != 8 {
			t.Errorf("%d calls at once, want 8", most.Load())
		}
		if took := time.Since(begin); took != 130*time.Millisecond {
			t.Errorf("100 calls of 10 ms took %v, want 130 ms", took)
		}
	})
}

func TestClient(t *testing.T) {
	t.Parallel()
	keys := map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "secret"}
	with := func(more map[string]string) map[string]string {
		env := map[string]string{}
		for _, m := range []map[string]string{keys, more} {
			for k, v := range m {
				env[k] = v
			}
		}
		return env
	}
	for name, tt := range map[string]struct {
		env      map[string]string
		ok       bool
		endpoint string
	}{
		"nothing":          {nil, false, ""},
		"no-region":        {with(map[string]string{"AWS_REGION": ""}), false, ""},
		"no-secret":        {with(map[string]string{"AWS_SECRET_ACCESS_KEY": ""}), false, ""},
		"aws":              {keys, true, ""},
		"endpoint":         {with(map[string]string{"AWS_ENDPOINT_URL": "http://a"}), true, "http://a"},
		"service-endpoint": {with(map[string]string{"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_EVENTBRIDGE": "http://b"}), true, "http://b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := eventbus.Client(func(name string) string { return tt.env[name] })
			if !tt.ok {
				if err == nil || presence.AsError(err).Code != presence.InvalidArgument {
					t.Errorf("got %v, want InvalidArgument", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if o := client.Options(); o.Region != "eu-west-1" || aws.ToString(o.BaseEndpoint) != tt.endpoint {
				t.Errorf("region %q, endpoint %q", o.Region, aws.ToString(o.BaseEndpoint))
			}
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("in-memory/%d", n), func(b *testing.B) {
			pub, list := publisher(accept), events(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pub.Publish(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("http/%d", n), func(b *testing.B) {
			bus, list := serve(b, `{"source":["nobody"]}`), events(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bus.pub.Publish(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
