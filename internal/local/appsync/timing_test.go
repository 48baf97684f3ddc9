package appsync_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"presence"
	"presence/internal/local/appsync"
	"presence/resolvers"
)

// pipes is a listener. Its connections are pipes, so that they know only the
// clock of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	server *appsync.Server
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// dial connects to the server.
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// inBubble runs test against a server on pipes, on a clock that jumps.
func inBubble(t *testing.T, test func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Invoker: invoker(fakePresence), Authorize: authorize, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := appsync.SelfSigned()
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{make(chan net.Conn), make(chan struct{}), s}
		hs := appsync.NewHTTPServer(s)
		done := make(chan error)
		go func() { done <- hs.Serve(appsync.NewListener(p, cert)) }()
		test(t, p)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		_ = hs.Close()
		<-done
	})
}

func dialPipe(t *testing.T, p *pipes, who string) *websocket.Conn {
	t.Helper()
	transport := &http.Transport{DialContext: p.dial}
	ws, resp, err := websocket.Dial(t.Context(), "http://localhost"+appsync.RealtimePath, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		HTTPHeader:   http.Header{"Authorization": {who}},
		Subprotocols: []string{"graphql-ws"},
	})
	if err != nil {
		t.Fatalf("%v: %v", err, resp)
	}
	if _, text, err := ws.Read(t.Context()); err != nil || string(text) != `{"type":"ka"}` {
		t.Fatalf("%s, %v, want ka unasked", text, err)
	}
	return ws
}

// The server sends ka at once and every 60 s after, and closes after 24 h.
func TestKeepAliveAndLife(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *pipes) {
		ws := dialPipe(t, p, "bob")
		defer func() { _ = ws.CloseNow() }()
		begun := time.Now()
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"connection_init"}`)); err != nil {
			t.Fatal(err)
		}
		if _, text, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(text), "connection_ack") {
			t.Fatalf("%s, %v", text, err)
		}
		for i := range 24 * 60 {
			_, text, err := ws.Read(t.Context())
			if err != nil || string(text) != `{"type":"ka"}` {
				t.Fatalf("%s, %v", text, err)
			}
			if got, want := time.Since(begun), time.Duration(i)*time.Minute; got != want {
				t.Fatalf("ka %d after %v, want %v", i, got, want)
			}
		}
		for {
			_, _, err := ws.Read(t.Context())
			if err == nil {
				continue // The ka of the last minute.
			}
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure || time.Since(begun) != 24*time.Hour {
				t.Fatalf("ended after %v: %v", time.Since(begun), err)
			}
			return
		}
	})
}

// A socket that says neither connection_init nor start is closed.
func TestInitTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *pipes) {
		ws := dialPipe(t, p, "bob")
		begun := time.Now()
		_, _, err := ws.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || time.Since(begun) != 15*time.Second {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
	})
}

// Clients that send their request a byte at a time, or nothing, do not hold a
// connection; nor do those that never read.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		limit time.Duration
	}{
		"silent":  {"", 5 * time.Second},
		"tls":     {"\x16\x03\x01\x02\x00", 5 * time.Second},
		"headers": {"POST /graphql HTTP/1.1\r\nHost: localhost\r\nA: ", 5 * time.Second},
		"body":    {"POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: bob\r\nContent-Length: 1000000\r\n\r\n{", 20 * time.Second},
		"upgrade": {"GET /graphql/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, p *pipes) {
				client, err := p.dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				go func() { // Drops what the server says.
					buf := make([]byte, 1024)
					for {
						if _, err := client.Read(buf); err != nil {
							return
						}
					}
				}()
				if _, err := client.Write([]byte(c.text)); err != nil {
					t.Fatal(err)
				}
				for {
					time.Sleep(time.Second) // Virtual: nothing waits.
					if _, err := client.Write([]byte("a")); err != nil {
						break
					}
				}
				if took := time.Since(begun); took > c.limit+2*time.Second {
					t.Errorf("cut after %v, want %v", took, c.limit)
				}
			})
		})
	}
	t.Run("subscriber", func(t *testing.T) {
		t.Parallel()
		inBubble(t, func(t *testing.T, p *pipes) {
			ws := dialPipe(t, p, "bob")
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"connection_init"}`)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // Virtual. connection_ack waits for a reader.
			if _, _, err := ws.Read(t.Context()); err == nil {
				t.Error("a socket that did not read for a minute is still there")
			}
		})
	})
}

// A client may send 500 messages in a second, the first one included.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *pipes) {
		ws := dialPipe(t, p, "bob")
		defer func() { _ = ws.CloseNow() }()
		answer := func(text, want string) {
			t.Helper()
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(got), want) {
				t.Fatalf("got %s, %v, want %s", got, err, want)
			}
		}
		const stop = `{"id":"1","type":"stop"}`
		answer(`{"type":"connection_init"}`, `"connection_ack"`)
		answer(stop, `"ka"`)
		for range 498 {
			answer(stop, `"complete"`)
		}
		answer(stop, `"complete"`) // The ka has put the answers one behind.
		answer(stop, `"Rate limit exceeded"`)
		time.Sleep(time.Second) // Virtual.
		answer(stop, `"LimitExceededError"`)
		answer(stop, `"complete"`)
	})
}
