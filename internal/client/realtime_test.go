package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/client"
	"presence/internal/wire"
)

const acknowledged = `{"type":"connection_ack","payload":{"connectionTimeoutMs":300000}}`

// What is sent is what the real-time protocol's documentation asks for.
func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []map[string]any
		c := dialable(t, nil, func(p *peer) {
			got = append(got, p.header)
			p.send(acknowledged)
			start := p.read()
			var payload struct {
				Data       string
				Extensions struct{ Authorization map[string]any }
			}
			if err := json.Unmarshal(start.Payload, &payload); err != nil {
				t.Error(err)
			}
			got = append(got, payload.Extensions.Authorization)
			var data struct {
				Query     string
				Variables map[string]any
			}
			if err := json.Unmarshal([]byte(payload.Data), &data); err != nil || !strings.HasPrefix(data.Query, "subscription") {
				t.Errorf("data %s: %v", payload.Data, err)
			}
			got = append(got, data.Variables)
			p.send(`{"type":"connection_error","payload":{"errors":[{"errorCode":400,"message":"Enough."}]}}`)
		})
		err := c.Subscribe(t.Context(), []string{"alice"}, client.Subscriber{})
		if code(err) != presence.InvalidArgument || err.Error() != "Enough." {
			t.Errorf("got %v", err)
		}
		header := map[string]any{
			"host": "api.example.com", "Authorization": "secret", "accept": "application/json, text/javascript",
			"content-encoding": "amz-1.0", "content-type": "application/json; charset=UTF-8",
		}
		if diff := cmp.Diff([]map[string]any{header, header, {"userIds": []any{"alice"}}}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		frame string
		want  presence.Code
	}{
		"unauthorized-connection":   {`{"type":"connection_error","payload":{"errors":[{"errorType":"UnauthorizedException","errorCode":401}]}}`, presence.Unauthorized},
		"unauthorized-subscription": {`{"type":"error","id":"0","payload":{"errors":[{"errorType":"Unauthorized","message":"No."}]}}`, presence.Unauthorized},
		"too-many-subscriptions":    {`{"type":"error","id":"0","payload":{"errors":[{"errorType":"MaxSubscriptionsReachedError","message":"No."}]}}`, presence.InvalidArgument},
		"limit-exceeded":            {`{"type":"error","payload":{"errors":[{"errorType":"LimitExceededError","message":"Rate limit exceeded"}]}}`, presence.Unavailable},
		"error-of-no-known-form":    {`{"type":"error","payload":{"errors":{}}}`, presence.Unavailable},
		"completed":                 {`{"type":"complete","id":"0"}`, presence.Unavailable},
		"no-json":                   {`nonsense`, presence.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dialable(t, nil, func(p *peer) { p.send(tc.frame); p.read() })
				if err := c.Subscribe(t.Context(), []string{"alice"}, client.Subscriber{}); code(err) != tc.want {
					t.Errorf("got %v, want %s", err, tc.want)
				}
			})
		})
	}
}

// A connection that makes no progress is given up, each step in its time.
func TestSilence(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		frames []string
		want   time.Duration
	}{
		"no-connection-ack": {nil, 15 * time.Second},
		"no-start-ack":      {[]string{acknowledged}, 15 * time.Second},
		"no-keep-alive":     {[]string{acknowledged, `{"type":"start_ack","id":"0"}`}, 5 * time.Minute},
		"a-shorter-timeout": {[]string{`{"type":"connection_ack","payload":{"connectionTimeoutMs":60000}}`, `{"type":"start_ack","id":"0"}`}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dialable(t, nil, func(p *peer) {
					for _, frame := range tc.frames {
						p.send(frame)
						p.read()
					}
					p.read()
				})
				ctx, cancel := context.WithCancel(t.Context())
				begin, got := time.Now(), time.Duration(0)
				err := c.Subscribe(ctx, []string{"alice"}, client.Subscriber{
					Subscribed:  func() {},
					Interrupted: func(error, time.Duration) { got = time.Since(begin); cancel() },
				})
				cancel()
				if err != nil {
					// The first connection was never made.
					got = time.Since(begin)
				}
				if got != tc.want {
					t.Errorf("given up after %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// Keep-alives alone hold a connection, and a lost one is made again: then the
// subscriber is told, and not before.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connections := 0
		c := dialable(t, nil, func(p *peer) {
			connections++
			if connections == 2 {
				return // As a server does that is just going down.
			}
			p.subscribe()
			p.keepAlive(60)
			p.data(online("alice", 1, "/"))
		})
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		err := c.Subscribe(ctx, []string{"alice"}, client.Subscriber{
			Subscribed: func() { got = append(got, "subscribed") },
			Data: func(p presence.Presence) {
				got = append(got, fmt.Sprintf("%s after %v", p.UserID, time.Since(begin).Truncate(time.Hour)))
				if time.Since(begin) > 2*time.Hour {
					cancel()
				}
			},
			Interrupted: func(err error, retry time.Duration) {
				got = append(got, "interrupted")
				if code(err) != presence.Unavailable || retry < 250*time.Millisecond || retry > time.Second {
					t.Errorf("interrupted by %v for %v", err, retry)
				}
			},
		})
		if err != nil {
			t.Error(err)
		}
		want := []string{"subscribed", "alice after 1h0m0s", "interrupted", "interrupted", "subscribed", "alice after 2h0m0s"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// peer is the server's side of one real-time connection.
type peer struct {
	*testing.T
	ctx    context.Context
	conn   *websocket.Conn
	header map[string]any
}

func (p *peer) send(frame string) {
	// A client that has left is not the server's concern.
	_ = p.conn.Write(p.ctx, websocket.MessageText, []byte(frame))
}

// read returns the next frame, or none once the client has left.
func (p *peer) read() (frame wire.Frame) {
	if err := wsjson.Read(p.ctx, p.conn, &frame); err != nil {
		return wire.Frame{}
	}
	return frame
}

// subscribe takes the client's first subscription.
func (p *peer) subscribe() {
	p.send(acknowledged)
	p.send(fmt.Sprintf(`{"type":"start_ack","id":%q}`, p.read().ID))
}

// keepAlive does so for minutes, or until the client has left.
func (p *peer) keepAlive(minutes int) {
	left := p.conn.CloseRead(p.ctx)
	for range minutes {
		select {
		case <-left.Done():
			return
		case <-time.After(time.Minute):
			p.send(`{"type":"ka"}`)
		}
	}
}

func (p *peer) data(ps presence.Presence) {
	b, err := json.Marshal(map[string]any{"data": map[string]any{"onPresence": ps}})
	if err != nil {
		p.Error(err)
	}
	p.send(fmt.Sprintf(`{"type":"data","id":"0","payload":%s}`, b))
}

// online is a Presence that lasts 75 seconds from second sec on.
func online(userID string, sec int64, url string) presence.Presence {
	at := presence.Time(sec * 1000)
	return presence.Presence{
		UserID: userID, Status: presence.Online, URL: &url, LastSeen: at, AsOf: at,
		ExpiresAt: at + 75_000, HeartbeatIntervalMs: 30_000,
	}
}

// dialable returns a client of a server that answers queries with graphql and
// hands each connection, once initialised, to realtime. Both ends are in this
// process, so that synctest's clock is theirs.
func dialable(t *testing.T, graphql http.HandlerFunc, realtime func(*peer)) *client.Client {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) { graphql(w, r) })
	mux.HandleFunc("GET /graphql/realtime", func(w http.ResponseWriter, r *http.Request) {
		protocols := strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ",")
		encoded, found := strings.CutPrefix(strings.TrimSpace(protocols[len(protocols)-1]), "header-")
		decoded, err := base64.RawURLEncoding.DecodeString(encoded)
		p := &peer{T: t, ctx: r.Context()}
		if !found || err != nil || json.Unmarshal(decoded, &p.header) != nil {
			t.Errorf("subprotocols %q", protocols)
		}
		p.conn, err = websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Protocol}})
		if err != nil {
			t.Error(err)
			return
		}
		defer p.conn.CloseNow()
		if frame := p.read(); frame.Type != wire.TypeConnectionInit {
			t.Errorf("first frame %+v", frame)
		}
		realtime(p)
	})
	s := &http.Server{Handler: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // It ends with ErrServerClosed.
	}()
	transport := &http.Transport{DialContext: l.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
		<-served
	})
	c, err := client.New(client.Options{
		Endpoint: "http://api.example.com/graphql", Authorize: client.Token("secret"), HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pipes is a listener without a network.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   atomic.Bool
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	if p.once.CompareAndSwap(false, true) {
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
