package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"presence"
	"presence/internal/client"
)

// measureFanout has many subscribe to one user of the local server, who goes
// from page to page. A message counts from the call that caused it. The limit
// is a server that only copies a message of that size to each socket. Both are
// processes of their own; the subscribers share the machine with them.
func measureFanout(ctx context.Context, b *bench) error {
	for _, n := range pick(b, []int{1_000, 10_000}, []int{200}) {
		bare, err := b.bareFanout(ctx, n)
		if err != nil {
			return err
		}
		ours, err := b.localFanout(ctx, n)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("fanout/subscribers=%d/", n)
		b.add(figure{name + "throughput", ours.Rate, "messages/s", bare.Rate, target{}})
		b.add(figure{name + "p50", millis(ours.P50), "ms", millis(bare.P50), target{}})
		b.add(figure{name + "p99", millis(ours.P99), "ms", millis(bare.P99), target{}})
		b.add(figure{name + "lost", float64(ours.lost), "messages", 0, atMost(0)})
		b.add(figure{name + "memory", ours.memory, "KiB/connection", bare.memory, target{}})
	}
	return nil
}

type fanout struct {
	result
	lost   int64
	memory float64
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

// localFanout measures the local server.
func (b *bench) localFanout(ctx context.Context, n int) (fanout, error) {
	w, err := newWorld(b, false, silent{})
	if err != nil {
		return fanout{}, err
	}
	defer w.close()
	server, err := b.server(ctx, "presence/cmd/presence", regexp.MustCompile(`GraphQL +(\S+)`),
		"serve", "--addr=127.0.0.1:0", "--no-sweep", "--redis-url="+w.nodes[0].URL)
	if err != nil {
		return fanout{}, err
	}
	defer server.stop()
	token, err := client.LocalToken(ctx, server.url, "alice")
	if err != nil {
		return fanout{}, err
	}
	api, err := client.New(client.Options{Endpoint: server.url, Authorize: client.Token(token)})
	if err != nil {
		return fanout{}, err
	}
	before, err := residentMemory(server.pid)
	if err != nil {
		return fanout{}, err
	}

	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	defer func() { _ = group.Wait() }()
	defer cancel()
	var s subscribers
	subscribed := make(chan struct{}, n)
	for i := range n {
		group.Go(func() error {
			return api.Subscribe(ctx, []string{"alice"}, client.Subscriber{
				Subscribed: func() { subscribed <- struct{}{} },
				Data:       func(presence.Presence) { s.received() },
			})
		})
		// Some at a time: the backlog of a listening socket is short.
		if i >= callers {
			<-subscribed
		}
	}
	for range min(n, callers) {
		<-subscribed
	}
	after, err := residentMemory(server.pid)
	if err != nil {
		return fanout{}, err
	}
	f, err := s.rounds(ctx, b, n, func(round int) error {
		_, err := api.Connect(ctx, "", []presence.Page{page, otherPage}[round%2])
		return err
	})
	f.memory = (after - before) * 1024 / float64(n)
	return f, err
}

// bareFanout measures the least server.
func (b *bench) bareFanout(ctx context.Context, n int) (fanout, error) {
	server, err := b.server(ctx, "presence/cmd/bench/bare", regexp.MustCompile(`(http://\S+)`))
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
		conn, _, err := websocket.Dial(ctx, server.url, nil) //nolint:bodyclose // Dial leaves none open.
		if err != nil {
			return fanout{}, err
		}
		if _, _, err := conn.Read(ctx); err != nil {
			return fanout{}, err
		}
		group.Go(func() error {
			defer conn.CloseNow()
			for {
				if _, _, err := conn.Read(ctx); err != nil {
					return err
				}
				s.received()
			}
		})
	}
	after, err := residentMemory(server.pid)
	if err != nil {
		return fanout{}, err
	}
	// As long as the data frame of a Presence.
	message := bytes.Repeat([]byte("x"), 450)
	f, err := s.rounds(ctx, b, n, func(int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.url, bytes.NewReader(message))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	f.memory = (after - before) * 1024 / float64(n)
	return f, err
}

// process is a server in a process of its own.
type process struct {
	cmd *exec.Cmd
	url string
	pid int
}

// server builds and starts one that prints its URL.
func (b *bench) server(ctx context.Context, pkg string, url *regexp.Regexp, args ...string) (*process, error) {
	built, err := b.bootstrap(ctx, pkg)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, built.path, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var failure strings.Builder
	cmd.Stderr = &failure
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid}
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
	return nil, fmt.Errorf("%s: %s", pkg, failure.String())
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
