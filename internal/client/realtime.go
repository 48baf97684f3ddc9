package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
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
	// Data is called with every message. Fields that the mutation did not select
	// are zero.
	Data func(presence.Presence)
	// Interrupted is called when a connection that had been made is lost, or can
	// not be made again, with how long until the next attempt. Nil means nobody
	// wants to know.
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

// Subscribe subscribes to the users until ctx ends and then returns nil. It
// returns an error if the first connection can not be made, or once the API
// refuses: it connects again after any other end.
func (c *Client) Subscribe(ctx context.Context, userIDs []string, s Subscriber) error {
	made := false
	for failures := 0; ; failures++ {
		err := c.connection(ctx, userIDs, func() {
			made, failures = true, 0
			s.Subscribed()
		}, s.Data)
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

// connection lives through one real-time connection and returns why it ended.
func (c *Client) connection(ctx context.Context, userIDs []string, subscribed func(), data func(presence.Presence)) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	// The answer to a close is not waited for: nothing hangs on it.
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)

	patience := silence
	read := func(timeout time.Duration) (frame wire.Frame, err error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := wsjson.Read(ctx, conn, &frame); err != nil {
			return frame, &presence.Error{Code: presence.Unavailable, Message: "The real-time connection was lost", Err: err}
		}
		return frame, nil
	}
	write := func(frame wire.Frame) error {
		ctx, cancel := context.WithTimeout(ctx, ackTimeout)
		defer cancel()
		if err := wsjson.Write(ctx, conn, frame); err != nil {
			return &presence.Error{Code: presence.Unavailable, Message: "The real-time connection was lost", Err: err}
		}
		return nil
	}

	if err := write(wire.Frame{Type: wire.TypeConnectionInit}); err != nil {
		return err
	}
	// Until the connection is acknowledged, and then every subscription, the
	// other end must make progress; after that it must only be heard of.
	deadline := time.Now().Add(ackTimeout)
	for unacknowledged := -1; ; {
		timeout := patience
		if unacknowledged != 0 {
			timeout = time.Until(deadline)
		}
		frame, err := read(timeout)
		if err != nil {
			return err
		}
		switch frame.Type {
		case wire.TypeConnectionAck:
			var ack struct{ ConnectionTimeoutMs int64 }
			if json.Unmarshal(frame.Payload, &ack) == nil && ack.ConnectionTimeoutMs > 0 {
				patience = time.Duration(ack.ConnectionTimeoutMs) * time.Millisecond
			}
			for i, userID := range userIDs {
				start, err := c.start(ctx, strconv.Itoa(i), userID)
				if err != nil {
					return err
				}
				if err := write(start); err != nil {
					return err
				}
			}
			unacknowledged, deadline = len(userIDs), time.Now().Add(ackTimeout)
		case wire.TypeStartAck:
			if unacknowledged--; unacknowledged == 0 {
				subscribed()
			}
		case wire.TypeData:
			var payload struct {
				Data struct{ OnStatus *presence.Presence }
			}
			if err := json.Unmarshal(frame.Payload, &payload); err == nil && payload.Data.OnStatus != nil {
				data(*payload.Data.OnStatus)
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
	}
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

// start returns the message that subscribes to a user.
func (c *Client) start(ctx context.Context, id, userID string) (wire.Frame, error) {
	data, err := json.Marshal(map[string]any{
		"query":     "subscription OnStatus($userId: ID!) { onStatus(userId: $userId) " + fields + " }",
		"variables": map[string]any{"userId": userID},
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
