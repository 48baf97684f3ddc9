package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"presence"
	"presence/internal/client"
	"presence/internal/testenv"
	"presence/internal/wire"
)

// measureFanout has many subscribe to one user of the local server, who goes
// from page to page. A message counts from the call that caused it. The limit
// is a server that only copies a message of that size to each socket; beside
// them runs the AppSync simulator of Amplify, where npm can install it. All are
// processes of their own; the subscribers share the machine with them.
func measureFanout(ctx context.Context, b *bench) error {
	simulator, err := b.installSimulator(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: fanout: without the Amplify simulator:", err)
	}
	for _, n := range pick(b, []int{1_000, 10_000}, []int{200}) {
		bare, err := b.fanout(ctx, n, b.bareServer)
		if err != nil {
			return fmt.Errorf("bare: %w", err)
		}
		ours, err := b.fanout(ctx, n, b.localServer)
		if err != nil {
			return err
		}
		// With few subscribers, the road to the fan-out takes longer than itself.
		b.addFanout("fanout", n, ours, bare, atMost(0), pick(b, ratioAtLeast(0.9), target{}))
		if simulator == "" {
			continue
		}
		theirs, err := b.fanout(ctx, n, func(ctx context.Context) (*fanoutServer, error) { return b.simulatorServer(ctx, simulator) })
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: fanout: the Amplify simulator with %d subscribers: %v\n", n, err)
			continue
		}
		b.addFanout("fanout/simulator", n, theirs, bare, target{}, target{})
	}
	return nil
}

func (b *bench) addFanout(name string, n int, f, bare fanout, lost, throughput target) {
	name = fmt.Sprintf("%s/subscribers=%d/", name, n)
	b.add(figure{name + "throughput", f.Rate, "messages/s", bare.Rate, throughput})
	b.add(figure{name + "p50", millis(f.P50), "ms", millis(bare.P50), target{}})
	b.add(figure{name + "p99", millis(f.P99), "ms", millis(bare.P99), target{}})
	b.add(figure{name + "lost", float64(f.lost), "messages", 0, lost})
	b.add(figure{name + "memory", f.memory, "KiB/connection", bare.memory, target{}})
}

type fanout struct {
	result
	lost   int64
	memory float64
}

// fanoutServer is one that is measured.
type fanoutServer struct {
	*process
	// subscribe returns a socket that brings messages from now on.
	subscribe func(context.Context) (*websocket.Conn, error)
	// send causes a message to each.
	send func(ctx context.Context, round int) error
}

// subscribers counts what arrives and when.
type subscribers struct {
	mu       sync.Mutex
	sent     time.Time
	late     *hdrhistogram.Histogram
	missing  int
	complete chan struct{}
}

// received counts a message that arrived.
func (s *subscribers) received() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.late.RecordValue(now.Sub(s.sent).Nanoseconds())
	if s.missing--; s.missing == 0 {
		close(s.complete)
	}
}

// rounds sends messages, each once the one before has reached all n.
func (s *subscribers) rounds(ctx context.Context, b *bench, n int, send func(round int) error) (fanout, error) {
	s.late = newHistogram()
	var f fanout
	start := time.Now()
	for round := range pick(b, 50, 5) {
		s.mu.Lock()
		s.sent, s.missing, s.complete = time.Now(), n, make(chan struct{})
		s.mu.Unlock()
		if err := send(round); err != nil {
			return f, err
		}
		select {
		case <-s.complete:
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
			return f, ctx.Err()
		}
		s.mu.Lock()
		f.lost += int64(s.missing)
		s.mu.Unlock()
	}
	f.result = summary(time.Since(start), s.late)
	return f, nil
}

// fanout measures one server with n subscribers.
func (b *bench) fanout(ctx context.Context, n int, start func(context.Context) (*fanoutServer, error)) (fanout, error) {
	server, err := start(ctx)
	if err != nil {
		return fanout{}, err
	}
	defer server.stop()
	before, err := residentMemory(server.pid)
	if err != nil {
		return fanout{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	defer func() { _ = group.Wait() }()
	defer cancel()
	var s subscribers
	for range n {
		conn, err := server.subscribe(ctx)
		if err != nil {
			return fanout{}, err
		}
		group.Go(func() error {
			defer conn.CloseNow()
			for {
				_, message, err := conn.Read(ctx)
				if err != nil {
					return err
				}
				if !bytes.Contains(message, []byte(`"type":"ka"`)) {
					s.received()
				}
			}
		})
	}
	after, err := residentMemory(server.pid)
	if err != nil {
		return fanout{}, err
	}
	f, err := s.rounds(ctx, b, n, func(round int) error { return server.send(ctx, round) })
	f.memory = (after - before) * 1024 / float64(n)
	return f, err
}

// localServer starts the local server.
func (b *bench) localServer(ctx context.Context) (*fanoutServer, error) {
	g, err := b.localGraphQL(ctx)
	if err != nil {
		return nil, err
	}
	return g.fanout(), nil
}

// localGraphQL starts the local server. The caller is alice.
func (b *bench) localGraphQL(ctx context.Context) (g graphQL, err error) {
	redis, err := testenv.StartRedis(b.dir)
	if err != nil {
		return g, err
	}
	p, err := b.server(ctx, "presence/cmd/presence", regexp.MustCompile(`GraphQL +(\S+)`),
		"serve", "--addr=127.0.0.1:0", "--no-sweep", "--redis-url="+redis.URL)
	if err != nil {
		redis.Kill()
		return g, err
	}
	p.beside = redis.Kill
	token, err := client.LocalToken(ctx, p.url, "alice")
	if err != nil {
		p.stop()
		return g, err
	}
	return graphQL{p, map[string]string{"Authorization": token}}, nil
}

// simulator is a package of Node: the simulator, and what it is to simulate.
//
//go:embed simulator
var simulator embed.FS

// installSimulator returns the folder it is installed in, or "" in a quick run:
// it has hundreds of dependencies.
func (b *bench) installSimulator(ctx context.Context) (dir string, err error) {
	if b.quick {
		return "", nil
	}
	if err := os.CopyFS(b.dir, simulator); err != nil {
		return "", err
	}
	dir = filepath.Join(b.dir, "simulator")
	npm := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return dir, nil
}

func (b *bench) simulatorServer(ctx context.Context, dir string) (*fanoutServer, error) {
	const key = "da2-bench"
	node := exec.CommandContext(ctx, "node", "index.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "API_KEY="+key)
	p, err := started(node, regexp.MustCompile(`(http://\S+)`))
	if err != nil {
		return nil, err
	}
	return graphQL{p, map[string]string{"x-api-key": key}}.fanout(), nil
}

// graphQL is a server that speaks AppSync's protocols, and what shows it who is
// calling.
type graphQL struct {
	*process
	authorization map[string]string
}

// fields selects a whole Presence.
var fields = "{ " + strings.Join(presence.Fields(), " ") + " }"

// request returns the body of a GraphQL request.
func request(document string) []byte {
	body, _ := json.Marshal(map[string]string{"query": document}) // a string always encodes
	return body
}

// fanout returns the server as it is measured.
func (g graphQL) fanout() *fanoutServer {
	subscribe := func(ctx context.Context) (*websocket.Conn, error) {
		conn, err := g.dial(ctx)
		if err != nil {
			return nil, err
		}
		return conn, g.watch(ctx, conn, "1", "alice")
	}
	return &fanoutServer{g.process, subscribe, func(ctx context.Context, round int) error {
		return g.connect(ctx, []presence.Page{page, otherPage}[round%2])
	}}
}

// dial opens a socket. The authorization goes into the query, the one way all
// servers know.
func (g graphQL) dial(ctx context.Context) (*websocket.Conn, error) {
	header, _ := json.Marshal(g.authorization) // strings always encode
	realtime := g.url + "/realtime?payload=e30=&header=" + url.QueryEscape(base64.StdEncoding.EncodeToString(header))
	conn, _, err := websocket.Dial(ctx, realtime, &websocket.DialOptions{Subprotocols: []string{wire.Protocol}}) //nolint:bodyclose // Dial leaves none open.
	if err != nil {
		return nil, err
	}
	return conn, ask(ctx, conn, wire.Frame{Type: wire.TypeConnectionInit}, wire.TypeConnectionAck)
}

// watch subscribes to a user.
func (g graphQL) watch(ctx context.Context, conn *websocket.Conn, id, user string) error {
	payload, _ := json.Marshal(map[string]any{
		"data":       string(request(fmt.Sprintf("subscription { onStatus(userId: %q) %s }", user, fields))),
		"extensions": map[string]any{"authorization": g.authorization},
	})
	return ask(ctx, conn, wire.Frame{Type: wire.TypeStart, ID: id, Payload: payload}, wire.TypeStartAck)
}

// ask sends a frame and waits for the type of frame that answers it.
func ask(ctx context.Context, conn *websocket.Conn, frame wire.Frame, answer string) error {
	if err := wsjson.Write(ctx, conn, frame); err != nil {
		return err
	}
	for heard := (wire.Frame{}); heard.Type != answer; {
		if err := wsjson.Read(ctx, conn, &heard); err != nil {
			return err
		}
		if heard.Type != answer && heard.Type != wire.TypeKeepAlive {
			return fmt.Errorf("%s is answered by %s %s", frame.Type, heard.Type, heard.Payload)
		}
	}
	return nil
}

// connect has the caller open a page.
func (g graphQL) connect(ctx context.Context, to presence.Page) error {
	body := request(fmt.Sprintf("mutation { connect(url: %q, title: %q) %s }", to.URL, to.Title, fields))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range g.authorization {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"errors"`))) {
		err = fmt.Errorf("connect: %s %s", resp.Status, answer)
	}
	return err
}

// bareServer starts the least server.
func (b *bench) bareServer(ctx context.Context) (*fanoutServer, error) {
	p, err := b.server(ctx, "presence/cmd/bench/bare", regexp.MustCompile(`(http://\S+)`))
	if err != nil {
		return nil, err
	}
	subscribe := func(ctx context.Context) (*websocket.Conn, error) {
		conn, _, err := websocket.Dial(ctx, p.url, nil) //nolint:bodyclose // Dial leaves none open.
		if err != nil {
			return nil, err
		}
		_, _, err = conn.Read(ctx)
		return conn, err
	}
	// As long as the data frame of a Presence.
	message := bytes.Repeat([]byte("x"), 450)
	send := func(ctx context.Context, _ int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(message))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	return &fanoutServer{p, subscribe, send}, nil
}

// process is a server in a process of its own.
type process struct {
	cmd    *exec.Cmd
	url    string
	pid    int
	beside func() // stops what was started for it
}

// server builds and starts one that prints its URL.
func (b *bench) server(ctx context.Context, pkg string, url *regexp.Regexp, args ...string) (*process, error) {
	built, err := b.bootstrap(ctx, pkg)
	if err != nil {
		return nil, err
	}
	return started(exec.CommandContext(ctx, built.path, args...), url)
}

// started starts a server and waits for its URL.
func started(cmd *exec.Cmd, url *regexp.Regexp) (*process, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var failure strings.Builder
	cmd.Stderr = &failure
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid, beside: func() {}}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if match := url.FindStringSubmatch(lines.Text()); match != nil {
			p.url = match[1]
			go func() { // so that it never waits to be read
				for lines.Scan() {
				}
			}()
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s: %s", cmd.Path, failure.String())
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.beside()
}
