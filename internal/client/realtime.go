package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"presence"
	"presence/internal/wire"
)

// Subscriber is told what a subscription brings, by one goroutine.
type Subscriber struct {
	// Subscribed is called each time the API has acknowledged every subscription,
	// on the first connection and after each gap. What changed before that moment
	// is not delivered: it is the moment to query.
	Subscribed func()
	// Data is called with every message.
	Data func(presence.Presence)
	// Interrupted is called when a connection that had been made is lost, or cannot
	// be made again, with how long until the next attempt. Nil means that this is not
	// of interest.
	Interrupted func(err error, retry time.Duration)
}

const (
	// ackTimeout is how long AWS's clients wait for an acknowledgement.
	ackTimeout = 15 * time.Second
	// silence is AppSync's connectionTimeoutMs, should the server not tell its own.
	silence = 5 * time.Minute
	// maxMessage is AppSync's limit of a subscription payload, with room for the
	// frame around it.
	maxMessage = 256 << 10

	minRetry = 500 * time.Millisecond
	maxRetry = 15 * time.Second
)

// Subscribe subscribes to the users until ctx ends and then returns nil. One
// subscription is for up to [presence.MaxTopics] users; all are on one connection.
// Subscribe returns an error if the first connection cannot be made, or once the
// API refuses. After any other end it connects again.
func (c *Client) Subscribe(ctx context.Context, userIDs []string, s Subscriber) error {
	made := false
	for failures := 0; ; failures++ {
		err := c.connect(ctx, userIDs, Subscriber{Data: s.Data, Subscribed: func() {
			made, failures = true, 0
			s.Subscribed()
		}})
		if ctx.Err() != nil {
			return nil
		}
		if code := presence.AsError(err).Code; !made || code == presence.Unauthorized || code == presence.InvalidArgument {
			return err
		}
		// Half of it is random: after a restart of the API not all come back at once.
		retry := min(maxRetry, minRetry<<min(failures, 10))
		retry = retry/2 + rand.N(retry/2)
		if s.Interrupted != nil {
			s.Interrupted(err, retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// connection is one real-time connection.
type connection struct {
	client *Client
	conn   *websocket.Conn
	// silence is how long the server may say nothing.
	silence time.Duration
	// waiting is how many subscriptions are not acknowledged yet, or -1 before the
	// connection is. While it is not 0, the server must make progress by deadline.
	waiting  int
	deadline time.Time
}

// connect lives through one real-time connection and returns why it ended.
func (c *Client) connect(ctx context.Context, userIDs []string, s Subscriber) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	// The answer to a close is not waited for: nothing depends on it.
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	n := &connection{client: c, conn: conn, silence: silence, waiting: -1, deadline: time.Now().Add(ackTimeout)}
	if err := n.write(ctx, wire.Frame{Type: wire.TypeConnectionInit}); err != nil {
		return err
	}
	for {
		frame, err := n.read(ctx)
		if err != nil {
			return err
		}
		if err := n.receive(ctx, frame, userIDs, s); err != nil {
			return err
		}
	}
}

// receive acts on one message. Its error ends the connection.
func (n *connection) receive(ctx context.Context, frame wire.Frame, userIDs []string, s Subscriber) error {
	switch frame.Type {
	case wire.TypeConnectionAck:
		return n.subscribe(ctx, frame.Payload, userIDs)
	case wire.TypeStartAck:
		if n.waiting--; n.waiting == 0 {
			s.Subscribed()
		}
	case wire.TypeData:
		var payload struct {
			Data struct{ OnPresence *presence.Presence }
		}
		if err := json.Unmarshal(frame.Payload, &payload); err == nil && payload.Data.OnPresence != nil {
			s.Data(*payload.Data.OnPresence)
		}
	case wire.TypeError, wire.TypeConnectionError:
		var payload struct{ Errors []wire.Error }
		if err := json.Unmarshal(frame.Payload, &payload); err != nil || len(payload.Errors) == 0 {
			return presence.Errorf(presence.Unavailable, "The API ended the real-time connection with an error of no known form.")
		}
		return errorOf(payload.Errors[0])
	case wire.TypeComplete:
		return presence.Errorf(presence.Unavailable, "The API ended a subscription.")
	}
	return nil
}

// subscribe starts as many subscriptions as it takes, once the connection is
// acknowledged.
func (n *connection) subscribe(ctx context.Context, ack []byte, userIDs []string) error {
	var told struct{ ConnectionTimeoutMs int64 }
	if json.Unmarshal(ack, &told) == nil && told.ConnectionTimeoutMs > 0 {
		n.silence = time.Duration(told.ConnectionTimeoutMs) * time.Millisecond
	}
	n.waiting = 0
	for some := range slices.Chunk(userIDs, presence.MaxTopics) {
		start, err := n.client.start(ctx, strconv.Itoa(n.waiting), some)
		if err != nil {
			return err
		}
		if err := n.write(ctx, start); err != nil {
			return err
		}
		n.waiting++
	}
	n.deadline = time.Now().Add(ackTimeout)
	return nil
}

func (n *connection) read(ctx context.Context) (frame wire.Frame, err error) {
	timeout := n.silence
	if n.waiting != 0 {
		timeout = time.Until(n.deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := wsjson.Read(ctx, n.conn, &frame); err != nil {
		return frame, &presence.Error{Code: presence.Unavailable, Message: "The real-time connection was lost", Err: err}
	}
	return frame, nil
}

func (n *connection) write(ctx context.Context, frame wire.Frame) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if err := wsjson.Write(ctx, n.conn, frame); err != nil {
		return &presence.Error{Code: presence.Unavailable, Message: "The real-time connection was lost", Err: err}
	}
	return nil
}

// dial opens the WebSocket and shows who is calling in a subprotocol, as AWS's
// present clients do.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	header, err := c.signed(ctx, "/connect", []byte("{}"))
	if err != nil {
		return nil, err
	}
	target := RealtimeURL(c.endpoint.String())
	conn, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{ //nolint:bodyclose // its documentation: never to be closed
		HTTPClient:   c.http,
		Subprotocols: []string{wire.Protocol, "header-" + base64.RawURLEncoding.EncodeToString(header)},
	})
	switch {
	case err == nil:
		return conn, nil
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, statusError(target, resp.StatusCode, nil)
	}
	return nil, unreachable(target, err)
}

// start returns the message that subscribes to users.
func (c *Client) start(ctx context.Context, id string, userIDs []string) (wire.Frame, error) {
	data, err := json.Marshal(map[string]any{
		"query":     "subscription OnPresence($userIds: [ID!]) { onPresence(watch: {userIds: $userIds}) " + fields + " }",
		"variables": map[string]any{"userIds": userIDs},
	})
	if err != nil {
		return wire.Frame{}, err
	}
	header, err := c.signed(ctx, "", data)
	if err != nil {
		return wire.Frame{}, err
	}
	payload, err := json.Marshal(map[string]any{
		"data":       string(data),
		"extensions": map[string]any{"authorization": json.RawMessage(header)},
	})
	return wire.Frame{ID: id, Type: wire.TypeStart, Payload: payload}, err
}

// signed returns the authorization object of the real-time protocol: the
// headers, as JSON, of a POST of body to a path below the endpoint's.
func (c *Client) signed(ctx context.Context, path string, body []byte) ([]byte, error) {
	// No body is attached, or its length would be signed as a header of its own.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String()+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, text/javascript")
	r.Header.Set("Content-Encoding", "amz-1.0")
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	if err := c.authorize(r, body); err != nil {
		return nil, err
	}
	object := map[string]string{"host": r.Host}
	for name := range r.Header {
		value := r.Header.Get(name)
		if name != "Authorization" {
			name = strings.ToLower(name)
		}
		object[name] = value
	}
	return json.Marshal(object)
}
