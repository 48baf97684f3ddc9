package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/client"
	"presence/internal/testenv"
)

// The timing the tests run with. Nobody may be shown offline before timeout
// has passed, and everybody must be a slack later.
const (
	heartbeat = time.Second
	timeout   = 2500 * time.Millisecond
	slack     = 2 * time.Second
)

// What bob is told of alice, from her first page to her coming back, on every
// Redis and with the parts in one process or each in its own.
func TestStory(t *testing.T) {
	t.Parallel()
	t.Run("embedded-redis", func(t *testing.T) {
		t.Parallel()
		story(t)
	})
	t.Run("real-redis", func(t *testing.T) {
		t.Parallel()
		story(t, "--redis-url", testenv.Redis(t).URL)
	})
	t.Run("two-redis", func(t *testing.T) {
		t.Parallel()
		story(t, "--redis-url", testenv.Redis(t).URL, "--status-redis-url", testenv.Redis(t).URL)
	})
	t.Run("redis-cluster", func(t *testing.T) {
		t.Parallel()
		story(t, "--redis-cluster", "--redis-url", testenv.RedisCluster(t))
	})
	t.Run("separate-processes", func(t *testing.T) {
		t.Parallel()
		bootstrap := filepath.Join(t.TempDir(), "bootstrap")
		if out, err := exec.Command("go", "build", "-o", bootstrap, "presence/cmd/lambda").CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		addr, keys := freeAddr(t), "AKIDEXAMPLE:secret"
		bus := exec.Command("presence", "eventbridge", "--addr", "127.0.0.1:0", "--endpoint", "http://"+addr+"/graphql", "--iam-key", keys)
		story(t, "--addr", addr, "--iam-key", keys, "--bootstrap", bootstrap, "--event-bridge", startPrinting(t, bus, "EventBridge")["EventBridge"])
	})
}

func story(t *testing.T, args ...string) {
	api := serveAPI(t, args...)
	bob := watchers(t, api, "alice")
	bob.next(presence.Offline, "")

	alice := as(t, api, "alice")
	p := connect(t, alice, "tab", "/one")
	if p.UserID != "alice" || p.Status != presence.Online || p.HeartbeatIntervalMs != heartbeat.Milliseconds() || p.ExpiresAt-p.LastSeen != presence.Time(timeout.Milliseconds()) {
		t.Errorf("connect answered %+v", p)
	}
	bob.next(presence.Online, "/one")
	connect(t, alice, "tab", "/two")
	bob.next(presence.Online, "/two")

	latest := latestOffline(t)
	before := time.Now()
	beat(t, alice, "tab", "/two")
	after := time.Now()
	gone := bob.next(presence.Offline, "")
	if got := time.Since(before); got < timeout {
		t.Errorf("offline %v after the last heartbeat, want at least %v", got, timeout)
	}
	if got := time.Since(after); got > latest() {
		t.Errorf("offline %v after the last heartbeat, want at most %v", got, latest())
	}
	if gone.ExpiresAt != 0 || gone.LastSeen == 0 {
		t.Errorf("offline as %+v", gone)
	}

	beat(t, alice, "tab", "/two")
	bob.next(presence.Online, "/two")
	if left, err := alice.Disconnect(t.Context(), "tab", 0); err != nil || left.Status != presence.Offline {
		t.Errorf("disconnect answered %+v, %v", left, err)
	}
	bob.next(presence.Offline, "")
}

// latestOffline returns how long after the last heartbeat everybody must have
// heard, from now on. Where this machine has stood still meanwhile, so has the
// sweep: it then takes itself to have been away, and gives people one timeout to
// come back.
func latestOffline(t *testing.T) func() time.Duration {
	const tick = 20 * time.Millisecond
	var stalled atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := time.Now()
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for t.Context().Err() == nil {
			<-ticker.C
			if now := time.Now(); now.Sub(last) > slack/4 {
				stalled.Store(true)
			}
			last = time.Now()
		}
	}()
	t.Cleanup(func() { <-done })
	return func() time.Duration {
		if stalled.Load() {
			return timeout + slack + timeout
		}
		return timeout + slack
	}
}

// The command line's own heartbeat keeps a user online; a process that stands
// still has gone, and is back when it goes on.
func TestOnlineCommand(t *testing.T) {
	t.Parallel()
	api := serveAPI(t)
	bob := watchers(t, api, "alice")
	bob.next(presence.Offline, "")
	cmd := exec.Command("presence", "online", "alice", "--endpoint", api, "--url", "https://example.com/page", "--title", "A page")
	stop := start(t, cmd)
	bob.next(presence.Online, "/page")
	seen := statusOf(t, api, "alice").LastSeen
	testenv.Eventually(t, time.Minute, func() error {
		p := statusOf(t, api, "alice")
		if p.Status != presence.Online {
			t.Fatalf("%+v", p)
		}
		if p.LastSeen < seen+presence.Time(2*timeout.Milliseconds()) {
			return fmt.Errorf("last seen at %v, less than two timeouts after %v", p.LastSeen, seen)
		}
		return nil
	})
	send(t, cmd, syscall.SIGSTOP)
	bob.next(presence.Offline, "")
	send(t, cmd, syscall.SIGCONT)
	bob.next(presence.Online, "/page")
	stop()
	bob.next(presence.Offline, "")
}

// Neither who is online nor who watches has to do anything when the server is
// killed and started again.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	addr, store := freeAddr(t), testenv.Redis(t).URL
	api := "http://" + addr + "/graphql"
	server := exec.Command("presence", "serve", "--addr", addr, "--redis-url", store, "--heartbeat", heartbeat.String(), "--timeout", timeout.String())
	server.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	lines, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	readUntil(t, lines, "Browser")
	bob := watchers(t, api, "alice", "carol")
	bob.until([]string{"alice", "carol"}, "offline ")
	alice := exec.Command("presence", "online", "alice", "--endpoint", api, "--url", "https://example.com/one")
	printed, err := alice.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, alice)
	readUntil(t, printed, "alice")
	bob.until([]string{"alice"}, "online /one")

	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait() // It was killed.
	serveAPI(t, "--addr", addr, "--redis-url", store)
	connect(t, as(t, api, "carol"), "tab", "/two")
	bob.until([]string{"carol"}, "online /two")
	stop()
	bob.until([]string{"alice", "carol"}, "offline ")
}

// While another session lives, the end of one is nobody else's business. There
// is no sweep, which could announce a change again.
func TestTwoSessions(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, "--no-sweep")
	told := subscribe(t, api, "alice")
	alice := as(t, api, "alice")
	connect(t, alice, "desk", "/desk")
	told.want("online /desk")
	connect(t, alice, "phone", "/phone")
	told.want("online /phone")
	if p, err := alice.Disconnect(t.Context(), "desk", 0); err != nil || p.Status != presence.Online {
		t.Errorf("disconnect of one session answered %+v, %v", p, err)
	}
	beat(t, alice, "phone", "/phone")
	connect(t, alice, "phone", "/last")
	told.want("online /last")
	if p, err := alice.Disconnect(t.Context(), "phone", 0); err != nil || p.Status != presence.Offline {
		t.Errorf("disconnect of the last session answered %+v, %v", p, err)
	}
	told.want("offline ")
}

// Who is back within the grace was never gone.
func TestGrace(t *testing.T) {
	t.Parallel()
	api := serveAPI(t)
	told := subscribe(t, api, "alice")
	alice := as(t, api, "alice")
	connect(t, alice, "tab", "/one")
	told.want("online /one")
	if p, err := alice.Disconnect(t.Context(), "tab", 1500*time.Millisecond); err != nil || p.Status != presence.Online {
		t.Errorf("disconnect with grace answered %+v, %v", p, err)
	}
	connect(t, alice, "tab", "/two")
	latest := latestOffline(t)
	leaving := time.Now()
	if p, err := alice.Disconnect(t.Context(), "tab", 1500*time.Millisecond); err != nil || p.Status != presence.Online {
		t.Errorf("disconnect with grace answered %+v, %v", p, err)
	}
	told.want("online /two", "offline ")
	if got := time.Since(leaving); got < 1500*time.Millisecond || got > latest()-timeout+1500*time.Millisecond {
		t.Errorf("offline %v after leaving with a grace of 1.5s", got)
	}
}

// The truth does not hang on the sweep: it is computed when asked for.
func TestStatusWithoutSweep(t *testing.T) {
	t.Parallel()
	api := serveAPI(t, "--no-sweep")
	before := time.Now()
	connect(t, as(t, api, "alice"), "tab", "/one")
	after := time.Now()
	testenv.Eventually(t, time.Until(after.Add(timeout+slack)), func() error {
		p := statusOf(t, api, "alice")
		if p.Status != presence.Offline {
			return fmt.Errorf("still %+v", p)
		}
		if p.URL != nil || p.LastSeen == 0 {
			t.Errorf("offline as %+v", p)
		}
		return nil
	})
	if got := time.Since(before); got < timeout {
		t.Errorf("offline after %v, want at least %v", got, timeout)
	}
}

// Whatever EventBridge does to events, everybody ends with the truth, and by
// being told: a watcher asks by itself only after a minute.
func TestEventBridgeFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		faults string
		lasts  time.Duration
	}{
		"rejects-30-percent":      {`{"Seed": 1, "Reject": 0.3, "Throttle": 0.1}`, time.Minute},
		"drops-all-for-10s":       {`{"Drop": 1}`, 10 * time.Second},
		"duplicates-and-reorders": {`{"Seed": 1, "Duplicate": 1, "Reorder": 1000000000}`, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, keys := freeAddr(t), "AKIDEXAMPLE:secret"
			bus := startPrinting(t, exec.Command("presence", "eventbridge", "--faults", "--addr", "127.0.0.1:0", "--endpoint", "http://"+addr+"/graphql", "--iam-key", keys), "EventBridge")["EventBridge"]
			api := serveAPI(t, "--addr", addr, "--iam-key", keys, "--event-bridge", bus)
			fail(t, bus, tc.faults)
			mended := time.AfterFunc(tc.lasts, func() { fail(t, bus, "{}") })
			defer mended.Stop()
			users := []string{"alice", "bob", "carol", "dave", "erin"}
			w := watchers(t, api, users...)
			// Everybody comes and falls silent; then everybody is back, by a heartbeat
			// that only EventBridge tells of, and the first three fall silent again.
			for _, user := range users {
				connect(t, as(t, api, user), "tab", "/one")
			}
			w.until(users, "offline ")
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for i, user := range users {
				beat(t, as(t, api, user), "tab", "/two")
				if i >= 3 {
					wg.Go(func() { keepBeating(ctx, as(t, api, user), "tab", "/two") })
				}
			}
			w.until(users[:3], "offline ")
			w.until(users[3:], "online /two")
			cancel()
			wg.Wait()
		})
	}
}

// fail sets what an EventBridge of the key pair AKIDEXAMPLE:secret does wrong.
func fail(t *testing.T, bus, faults string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, bus+"/faults", strings.NewReader(faults))
	if err != nil {
		t.Error(err)
		return
	}
	hash := sha256.Sum256([]byte(faults))
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, r, hex.EncodeToString(hash[:]), "events", "us-east-1", time.Now()); err != nil {
		t.Error(err)
		return
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("faults answered %s", resp.Status)
	}
}

// serveAPI runs a server for the test and returns its endpoint. It must end
// cleanly with the test.
func serveAPI(t *testing.T, args ...string) (endpoint string) {
	t.Helper()
	cmd := exec.Command("presence", append([]string{"serve", "--addr", "127.0.0.1:0", "--heartbeat", heartbeat.String(), "--timeout", timeout.String()}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	return startPrinting(t, cmd, "Browser")["GraphQL"]
}

// startPrinting starts a command and returns what it prints, as readUntil does.
func startPrinting(t *testing.T, cmd *exec.Cmd, last string) map[string]string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	return readUntil(t, out, last)
}

// readUntil returns, by their first words, the lines a command prints up to the
// one that begins with last.
func readUntil(t *testing.T, out io.Reader, last string) map[string]string {
	t.Helper()
	printed := make(map[string]string)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		printed[name] = strings.TrimSpace(value)
		if name == last {
			go func() { _, _ = io.Copy(io.Discard, out) }() // It ends with the process.
			return printed
		}
	}
	t.Fatalf("the command ended before it printed %s", last)
	return nil
}

// start starts a command that is to run until it is told to end, at the latest
// when the test does, and then to end well.
func start(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself, which Wait tells.
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", cmd, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func send(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// watched is what a running watch command prints.
type watched struct {
	*testing.T
	lines <-chan presence.Presence
	// last is what until has read of each user.
	last map[string]string
}

// watchers runs the watch command.
func watchers(t *testing.T, api string, users ...string) watched {
	t.Helper()
	cmd := exec.Command("presence", append([]string{"watch", "--json", "--endpoint", api}, users...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	lines := make(chan presence.Presence, 1000)
	go func() {
		defer close(lines)
		for decoder := json.NewDecoder(out); ; {
			var p presence.Presence
			if decoder.Decode(&p) != nil {
				return
			}
			lines <- p
		}
	}()
	return watched{t, lines, make(map[string]string)}
}

// next waits for the next line, which must be that status and page.
func (w watched) next(status presence.Status, url string) presence.Presence {
	w.Helper()
	select {
	case p, ok := <-w.lines:
		if !ok || p.Status != status || text(p.URL) != url {
			w.Fatalf("watch printed %+v %s, want %s %s", p, text(p.URL), status, url)
		}
		return p
	case <-time.After(15 * time.Second):
		w.Fatalf("watch printed nothing, want %s %s", status, url)
	}
	return presence.Presence{}
}

// until reads lines until the last of each of the users is want.
func (w watched) until(users []string, want string) {
	w.Helper()
	for deadline := time.After(45 * time.Second); ; {
		if !slices.ContainsFunc(users, func(u string) bool { return w.last[u] != want }) {
			return
		}
		select {
		case p := <-w.lines:
			w.last[p.UserID] = string(p.Status) + " " + text(p.URL)
		case <-deadline:
			w.Fatalf("watch ended with %v, want %s of %v", w.last, want, users)
		}
	}
}

// told is every message of a subscription.
type told struct {
	*testing.T
	messages <-chan presence.Presence
}

// subscribe subscribes without a watcher's mercy: doubles are seen too.
func subscribe(t *testing.T, api, userID string) told {
	t.Helper()
	messages, ready, done := make(chan presence.Presence, 1000), make(chan struct{}), make(chan error)
	ctx := t.Context()
	go func() {
		done <- as(t, api, "bob").Subscribe(ctx, []string{userID}, client.Subscriber{
			Subscribed:  func() { close(ready) },
			Data:        func(p presence.Presence) { messages <- p },
			Interrupted: func(err error, _ time.Duration) { t.Error(err) },
		})
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return told{t, messages}
}

// want waits for the messages there are to be, which must be the next ones. A
// subscriber is told the state at the time of telling, so a test that wants each
// of several changes waits for one before it makes the next.
func (s told) want(want ...string) {
	s.Helper()
	var got []string
	for len(got) < len(want) {
		select {
		case p := <-s.messages:
			got = append(got, string(p.Status)+" "+text(p.URL))
		case <-time.After(15 * time.Second):
			s.Fatalf("told %q, want %q", got, want)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("-want +got:\n%s", diff)
	}
}

func as(t *testing.T, api, userID string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Endpoint: api, Authorize: client.Local(api, userID)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func connect(t *testing.T, c *client.Client, session, url string) presence.Presence {
	t.Helper()
	p, err := c.Connect(t.Context(), session, presence.Page{URL: "https://example.com" + url, Title: url})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func beat(t *testing.T, c *client.Client, session, url string) {
	t.Helper()
	if _, err := c.Heartbeat(t.Context(), session, presence.Page{URL: "https://example.com" + url, Title: url}); err != nil {
		t.Fatal(err)
	}
}

// keepBeating beats until ctx ends.
func keepBeating(ctx context.Context, c *client.Client, session, url string) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// A beat that fails is one that is missed, and the test sees what comes of it.
			_, _ = c.Heartbeat(ctx, session, presence.Page{URL: "https://example.com" + url, Title: url})
		}
	}
}

// statusOf asks the status command.
func statusOf(t *testing.T, api, userID string) presence.Presence {
	t.Helper()
	cmd := exec.Command("presence", "status", "--json", "--endpoint", api, userID)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []presence.Presence
	if err := json.Unmarshal(out, &ps); err != nil || len(ps) != 1 {
		t.Fatalf("status printed %s: %v", out, err)
	}
	return ps[0]
}

// text returns a URL's path on the tests' site, and any other URL as it is.
func text(url *string) string {
	if url == nil {
		return ""
	}
	return strings.TrimPrefix(*url, "https://example.com")
}

// freeAddr returns a loopback address that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
