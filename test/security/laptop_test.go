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
	t.Parallel()
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
			if id == "" {
				return
			}
			hash := sha256.Sum256([]byte(event))
			if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, r, hex.EncodeToString(hash[:]), "events", "us-east-1", time.Now()); err != nil {
				t.Error(err)
			}
		}
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
