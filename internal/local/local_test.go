package local_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/client"
	"presence/internal/config"
	"presence/internal/local"
	"presence/internal/metrics"
	"presence/internal/testenv"
)

// The servers of the tests keep their certificate in a folder of the tests.
func TestMain(m *testing.M) {
	cache, err := os.MkdirTemp("", "presence-test-")
	if err != nil {
		panic(err)
	}
	if err := os.Setenv("XDG_CACHE_HOME", cache); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(cache) // The tests have ended, with that code.
		os.Exit(code)
	}))
}

// Everything is there soon, by TLS too, and gone without a trace when the
// context ends, whoever is connected.
func TestRun(t *testing.T) {
	t.Parallel()
	began := time.Now()
	running, stop := run(t, options())
	// It takes a fifth of a second, but not on a machine that has other things to do.
	if got := time.Since(began); got > 5*time.Second {
		t.Errorf("ready after %v", got)
	}
	trusted, err := os.ReadFile(running.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	for name, endpoint := range map[string]string{
		"plain": running.Endpoint, "tls": strings.Replace(running.Endpoint, "http://", "https://", 1),
	} {
		token, err := client.LocalToken(t.Context(), running.Endpoint, "alice")
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Options{Endpoint: endpoint, Authorize: client.Token(token), HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Connect(t.Context(), "tab", presence.Page{}); err != nil || p.Status != presence.Online {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
		subscribed, lost, done := make(chan struct{}), make(chan struct{}), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- c.Subscribe(ctx, []string{"alice"}, client.Subscriber{
				Subscribed:  func() { close(subscribed) },
				Data:        func(presence.Presence) {},
				Interrupted: func(error, time.Duration) { close(lost); cancel() },
			})
		}()
		<-subscribed
		t.Cleanup(func() {
			<-lost // The server has gone.
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}

	for path, want := range map[string]string{
		"/":                      "<html",
		"/demo":                  "<html",
		"/.well-known/jwks.json": `"keys"`,
		"/metrics":               `presence_operations_total{field="connect",result="OK"} 2`,
	} {
		if body := get(t, running.Base+path); !strings.Contains(body, want) {
			t.Errorf("%s has no %s: %.300s", path, want, body)
		}
	}
	if body := get(t, running.Base+"/metrics"); !strings.Contains(body, "presence_publish_failures_total 0") {
		t.Error("a counter that has not counted is not shown")
	}
	stop()
	if _, err := net.Dial("tcp", strings.TrimPrefix(running.Base, "http://")); err == nil {
		t.Error("something still listens")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for name, tc := range map[string]struct {
		change func(*local.Options)
		code   presence.Code
		says   string
	}{
		"port-in-use":      {func(o *local.Options) { o.Addr = l.Addr().String() }, presence.Unavailable, "is in use"},
		"no-address":       {func(o *local.Options) { o.Addr = "nonsense" }, presence.InvalidArgument, "nonsense"},
		"another-machine":  {func(o *local.Options) { o.Addr = "192.0.2.1:0" }, presence.InvalidArgument, "192.0.2.1"},
		"short-timeout":    {func(o *local.Options) { o.Timeout = o.Heartbeat }, presence.InvalidArgument, "at least twice"},
		"no-redis-there":   {func(o *local.Options) { o.RedisURL = "redis://127.0.0.1:1" }, presence.Unavailable, "Redis cannot be reached: "},
		"no-redis-url":     {func(o *local.Options) { o.RedisURL = "nonsense" }, presence.InvalidArgument, "Redis URL"},
		"no-issuer-url":    {func(o *local.Options) { o.Issuer = "nonsense" }, presence.InvalidArgument, "nonsense"},
		"no-cluster":       {func(o *local.Options) { o.RedisCluster = true }, presence.InvalidArgument, "embedded Redis"},
		"no-second-redis":  {func(o *local.Options) { o.StatusRedisURL = "redis://127.0.0.1:1" }, presence.InvalidArgument, "embedded Redis"},
		"a-thousand-parts": {func(o *local.Options) { o.Shards = 5000 }, presence.InvalidArgument, "shards"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := options()
			tc.change(&opts)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := local.Run(ctx, opts, func(local.Running) { cancel() })
			if err == nil || presence.AsError(err).Code != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %s that says %q", err, tc.code, tc.says)
			}
		})
	}
}

// With another issuer our own gives no tokens, and one that is away is nobody's
// fault who calls.
func TestOtherIssuer(t *testing.T) {
	t.Parallel()
	own, stopOwn := run(t, options())
	defer stopOwn()
	opts := options()
	opts.Issuer = own.Base
	other, stopOther := run(t, opts)
	defer stopOther()
	if _, err := client.LocalToken(t.Context(), other.Endpoint, "alice"); presence.AsError(err).Code != presence.Unauthorized {
		t.Errorf("its own token endpoint: %v", err)
	}
	token, err := client.LocalToken(t.Context(), own.Endpoint, "alice")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Endpoint: other.Endpoint, Authorize: client.Token(token)})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Connect(t.Context(), "", presence.Page{}); err != nil || p.UserID != "alice" {
		t.Errorf("got %+v, %v", p, err)
	}

	opts.ClientIDs = []string{"another"}
	strict, stopStrict := run(t, opts)
	defer stopStrict()
	if c, err = client.New(client.Options{Endpoint: strict.Endpoint, Authorize: client.Token(token)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context(), "alice"); err == nil || presence.AsError(err).Code != presence.Unauthorized {
		t.Errorf("a token for another client: got %v", err)
	}
}

// What the store leaves to time passes in the embedded Redis.
func TestEmbeddedRedisExpires(t *testing.T) {
	t.Parallel()
	url, stop, err := local.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	if err := c.Set(t.Context(), "key", "value", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); c.Exists(t.Context(), "key").Val() == 1; {
		if time.Now().After(deadline) {
			t.Fatal("the key is still there")
		}
	}

	opts.Password = ""
	stranger := redis.NewClient(opts)
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil {
		t.Error("it lets in whoever comes")
	}
}

// Row C6 of the trials: the server does not start on a Redis that would lose
// people, and says what to set.
func TestC6Refused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, want string }{
		{testenv.Redis(t, "--maxmemory-policy", "allkeys-lru").URL, "noeviction"},
		{testenv.RedisCluster(t), "PRESENCE_REDIS_CLUSTER=true"},
	} {
		opts := options()
		opts.RedisURL = test.url
		err := local.Run(t.Context(), opts, func(local.Running) { t.Error("it started") })
		if e := presence.AsError(err); err == nil || !strings.Contains(e.Message, test.want) {
			t.Errorf("got %v, want an error that says %s", err, test.want)
		}
	}
}

// Every metric there is can be recorded and is shown.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r := local.NewRecorder()
	for _, m := range metrics.All() {
		r.Record(m, 1, m.Dimensions...)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != len(metrics.All()) {
		t.Errorf("%d metrics are shown, of %d", len(families), len(metrics.All()))
	}
}

func options() local.Options {
	return local.Options{
		Config: config.Config{
			Timing: presence.Timing{Heartbeat: time.Second, Timeout: 2500 * time.Millisecond, Retention: time.Hour},
			Shards: 4, SweepFor: 50 * time.Second, EventBus: "presence",
		},
		Addr: "127.0.0.1:0", Sweep: true, Logger: slog.New(slog.DiscardHandler),
	}
}

// run runs a server until stop is called, which waits for its end.
func run(t *testing.T, opts local.Options) (local.Running, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan local.Running, 1), make(chan error, 1)
	go func() { done <- local.Run(ctx, opts, func(r local.Running) { ready <- r }) }()
	select {
	case r := <-ready:
		return r, func() {
			// The tests' own connections are not the server's.
			http.DefaultClient.CloseIdleConnections()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	case err := <-done:
		cancel()
		t.Fatal(err)
		return local.Running{}, nil
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s answered %s: %w", url, resp.Status, err))
	}
	return string(body)
}
