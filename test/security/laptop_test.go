package security_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"presence"
	"presence/internal/config"
	"presence/internal/local"
)

// What presence serve opens on this machine is for callers on this machine, and
// what belongs between its parts for them alone.
func TestLaptopServer(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // where the certificate is kept
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan local.Running, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- local.Run(ctx, local.Options{
			Config: config.Config{Timing: timing, Shards: 1, EventBus: "presence"},
			Addr:   "localhost:0", Logger: slog.New(slog.DiscardHandler),
		}, func(r local.Running) { ready <- r })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var running local.Running
	select {
	case running = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)

	const event = `{"Entries":[{"Source":"` + presence.EventSource + `","DetailType":"x","Detail":"{}","EventBusName":"presence"}]}`
	putEvents := func(id, secret string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
			if id != "" {
				signEvents(t, r, event, local.KeyPair{ID: id, Secret: secret})
			}
		}
	}
	faults := func(r *http.Request) {
		r.Method, r.URL.Path = http.MethodPut, "/faults"
		signEvents(t, r, "{}", running.Keys)
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, tt := range map[string]struct {
		url, body string
		change    func(*http.Request)
		want      int
	}{
		"token":               {url: running.Base + "/token?user=alice", want: 200},
		"token-by-other-name": {url: running.Base + "/token?user=alice", change: host("presence.example"), want: 403},
		"token-through-proxy": {url: running.Base + "/token?user=alice", change: header("X-Forwarded-For", "203.0.113.1"), want: 403},
		"B18-via":             {url: running.Base + "/token?user=alice", change: header("Via", "1.1 proxy"), want: 403},
		"B18-forwarded-host":  {url: running.Base + "/token?user=alice", change: header("X-Forwarded-Host", "presence.example"), want: 403},
		"B18-empty-via":       {url: running.Base + "/token?user=alice", change: header("Via", ""), want: 403},
		"token-for-a-page":    {url: running.Base + "/token?user=alice", change: header("Origin", "https://evil.example"), want: 403},
		"token-for-an-image":  {url: running.Base + "/token?user=alice", change: header("Sec-Fetch-Site", "cross-site"), want: 403},
		"api-without-token":   {url: running.Endpoint, body: `{"query":"{__typename}"}`, want: 401},
		"profiler":            {url: running.Base + "/debug/pprof/", want: 404},
		"events":              {url: running.EventBridge, body: event, change: putEvents(running.Keys.ID, running.Keys.Secret), want: 200},
		"events-unsigned":     {url: running.EventBridge, body: event, change: putEvents("", ""), want: 403},
		"events-other-secret": {url: running.EventBridge, body: event, change: putEvents(running.Keys.ID, "x"), want: 403},
		"events-other-key":    {url: running.EventBridge, body: event, change: putEvents("AKEVIL", "x"), want: 403},
		"B16-faults":          {url: running.EventBridge, body: "{}", change: faults, want: 400},
	} {
		t.Run(name, func(t *testing.T) {
			method := http.MethodGet
			if tt.body != "" {
				method = http.MethodPost
			}
			r, err := http.NewRequestWithContext(t.Context(), method, tt.url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(r)
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("got %s, want %d", resp.Status, tt.want)
			}
		})
	}
}

// signEvents signs a request with that body for EventBridge.
func signEvents(t *testing.T, r *http.Request, body string, keys local.KeyPair) {
	t.Helper()
	hash := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: keys.ID, SecretAccessKey: keys.Secret}, r, hex.EncodeToString(hash[:]), "events", "us-east-1", time.Now()); err != nil {
		t.Error(err)
	}
}

// Only an EventBridge started for tests lets callers set what goes wrong, and of
// them only those with its key pair, who cannot send it much.
func TestB16FaultsAreForTests(t *testing.T) {
	t.Parallel()
	keys := local.KeyPair{ID: "AKIDEXAMPLE", Secret: "secret"}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	put := func(t *testing.T, bus, body string, change func(*http.Request)) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, bus+"/faults", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	signed := func(body string, keys local.KeyPair) func(*http.Request) {
		return func(r *http.Request) { signEvents(t, r, body, keys) }
	}
	const faults = `{"Throttle": 1}`
	large := faults + strings.Repeat(" ", 64<<10)

	ordinary, test := eventBridge(t, keys, false), eventBridge(t, keys, true)
	for name, tt := range map[string]struct {
		bus, body string
		change    func(*http.Request)
		want      int
	}{
		"not-for-tests": {ordinary, faults, signed(faults, keys), 400},
		"unsigned":      {test, faults, func(*http.Request) {}, 403},
		"other-secret":  {test, faults, signed(faults, local.KeyPair{ID: keys.ID, Secret: "x"}), 403},
		"other-key":     {test, faults, signed(faults, local.KeyPair{ID: "AKEVIL", Secret: "x"}), 403},
		"other-body":    {test, faults, signed("{}", keys), 403},
		"other-host":    {test, faults, func(r *http.Request) { signEvents(t, r, faults, keys); r.Host = "evil.example" }, 403},
		"large":         {test, large, signed(large, keys), 413},
		"no-faults":     {test, "[]", signed("[]", keys), 400},
	} {
		t.Run(name, func(t *testing.T) {
			if got := put(t, tt.bus, tt.body, tt.change); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}

	// None of these has changed anything, and the right request does.
	const event = `{"Entries":[{"Source":"x","DetailType":"x","Detail":"{}","EventBusName":"nobody's"}]}`
	events := func(bus string) int {
		t.Helper()
		return put(t, bus, event, func(r *http.Request) {
			r.Method, r.URL.Path = http.MethodPost, "/"
			r.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
			signEvents(t, r, event, keys)
		})
	}
	for name, bus := range map[string]string{"ordinary": ordinary, "test": test} {
		if got := events(bus); got != http.StatusOK {
			t.Errorf("%s: PutEvents answered %d", name, got)
		}
	}
	if got := put(t, test, faults, signed(faults, keys)); got != http.StatusOK {
		t.Errorf("faults answered %d", got)
	}
	if got := events(test); got != http.StatusBadRequest {
		t.Errorf("PutEvents answered %d, want it throttled", got)
	}
}

// eventBridge runs an EventBridge for the test and returns its URL.
func eventBridge(t *testing.T, keys local.KeyPair, faults bool) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- local.RunEventBridge(ctx, "127.0.0.1:0", local.EventBridgeOptions{
			Bus: "presence", Endpoint: "http://127.0.0.1:1/graphql", Keys: keys, Faults: faults, Logger: slog.New(slog.DiscardHandler),
		}, func(url string) { ready <- url })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case url := <-ready:
		return url
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
		return ""
	}
}
