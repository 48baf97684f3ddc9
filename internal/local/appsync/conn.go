package appsync

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"

	"presence/internal/wire"
)

const (
	// connectionTimeout is what connection_ack promises: after that long without
	// a ka, a client gives the connection up.
	connectionTimeout = 5 * time.Minute
	// keepAlive is the period of ka.
	keepAlive = time.Minute
	// maxLife is how long AppSync keeps a connection.
	maxLife = 24 * time.Hour
	// maxSubscriptions is how many one connection may have: "AWS AppSync endpoints
	// and quotas".
	maxSubscriptions = 200

	// AppSync publishes none of the following. They keep one client from taking
	// what is the others'.

	// initTimeout is how long a socket may take to send connection_init.
	initTimeout = 15 * time.Second
	// writeTimeout is how long a client may take to receive one message.
	writeTimeout = 10 * time.Second
	// maxFrame is how large a client's message may be, in bytes.
	maxFrame = 128 << 10
	// maxRate is how many messages a client may send in a second: enough to start
	// all its subscriptions at once after a reconnect.
	maxRate = 500
	// maxQueue is how many messages may wait for a client. One that is further
	// behind is cut, and finds the present state when it comes back.
	maxQueue = 1024
)

// message is one to the client. A message without a kind closes the socket.
type message struct {
	kind string
	// id is the subscription's, as JSON, or empty.
	id      string
	payload []byte

	status websocket.StatusCode
	reason string
}

// conn is one socket. Its reader handles what arrives and owns subs; its
// writer is the only one to write. Both end when the socket does.
type conn struct {
	server *Server
	ws     *websocket.Conn
	// refused is why the handshake's credentials were not accepted, or nil.
	refused *requestError
	// path is the GraphQL endpoint's, which signatures of starts are over.
	path string
	subs map[string]*subscription

	mu    sync.Mutex
	queue []message
	// ended is set once nothing more may be queued.
	ended bool
	// wake has a token when the queue has something new.
	wake chan struct{}
}

// send queues a message. A client that has let too many pile up is cut.
func (c *conn) send(m message) {
	c.mu.Lock()
	switch {
	case c.ended:
	case len(c.queue) >= maxQueue:
		c.ended = true
		c.server.log.Warn("subscriber cut: it does not keep up", slog.Int("queued", len(c.queue)))
		c.queue = nil
		c.cutLocked()
	default:
		c.queue = append(c.queue, m)
		c.ended = m.kind == ""
	}
	c.mu.Unlock()
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// finish closes the socket once what is queued has been sent.
func (c *conn) finish(status websocket.StatusCode, reason string) {
	c.send(message{status: status, reason: reason})
}

// cut ends the socket at once. It does not wait, so publishers may call it.
func (c *conn) cut() {
	c.mu.Lock()
	c.ended = true
	c.cutLocked()
	c.mu.Unlock()
	c.signal()
}

func (c *conn) cutLocked() {
	if c.ws != nil {
		ws := c.ws
		c.server.running.Go(func() { _ = ws.CloseNow() })
	}
}

// fail queues an error, for one subscription or, without an id, for all.
func (c *conn) fail(kind, id string, e wire.Error) {
	c.send(message{kind: kind, id: id, payload: encode(map[string]any{"errors": []wire.Error{e}})})
}

// write sends what is queued, and ka in between.
func (c *conn) write() {
	defer func() { _ = c.ws.CloseNow() }()
	tooSlow := time.AfterFunc(writeTimeout, func() { _ = c.ws.CloseNow() })
	defer tooSlow.Stop()
	tooSlow.Stop()
	life := time.NewTimer(maxLife)
	defer life.Stop()
	unacknowledged := time.NewTimer(initTimeout)
	defer unacknowledged.Stop()
	ka := time.NewTicker(keepAlive)
	defer ka.Stop()
	ka.Stop()

	var frame []byte
	var spare []message // The queue before, emptied: two take turns.
	for {
		select {
		case <-c.wake:
		case <-ka.C:
			c.send(message{kind: wire.TypeKeepAlive})
		case <-unacknowledged.C:
			c.finish(websocket.StatusPolicyViolation, "connection_init did not arrive in time.")
		case <-life.C:
			c.finish(websocket.StatusNormalClosure, "The connection is 24 hours old.")
		}
		c.mu.Lock()
		queue, ended := c.queue, c.ended
		c.queue = spare
		c.mu.Unlock()
		for _, m := range queue {
			if m.kind == "" {
				_ = c.ws.Close(m.status, m.reason)
				return
			}
			frame = m.append(frame[:0])
			tooSlow.Reset(writeTimeout)
			err := c.ws.Write(context.Background(), websocket.MessageText, frame)
			tooSlow.Stop()
			if err != nil {
				return
			}
			if m.kind == wire.TypeConnectionAck {
				unacknowledged.Stop()
				ka.Reset(keepAlive)
			}
		}
		if ended {
			return
		}
		clear(queue)
		if spare = queue[:0]; cap(spare) > 64 {
			spare = nil
		}
	}
}

func (m message) append(b []byte) []byte {
	b = append(b, '{')
	if m.id != "" {
		b = append(b, `"id":`...)
		b = append(b, m.id...)
		b = append(b, ',')
	}
	b = append(b, `"type":"`...)
	b = append(b, m.kind...)
	b = append(b, '"')
	if m.payload != nil {
		b = append(b, `,"payload":`...)
		b = append(b, m.payload...)
	}
	return append(b, '}')
}

// read handles what the client sends until the socket ends.
func (c *conn) read() {
	defer c.server.release(c)
	defer c.finish(websocket.StatusNormalClosure, "") // Wakes the writer.
	var acknowledged bool
	var second time.Time
	var received int
	for {
		kind, data, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		var f wire.Frame
		if kind != websocket.MessageText || json.Unmarshal(data, &f) != nil {
			c.fail(wire.TypeError, "", wire.Error{ErrorType: "BadRequestException", Message: "The message is not a JSON text frame."})
			c.finish(websocket.StatusInvalidFramePayloadData, "The message is not JSON.")
			c.drain()
			return
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, received = now, 0
		}
		id := ""
		if f.ID != "" {
			id = string(encode(f.ID))
		}
		if received++; received > maxRate {
			c.fail(wire.TypeError, id, wire.Error{ErrorType: "LimitExceededError", Message: "Rate limit exceeded"})
			continue
		}
		switch {
		case !acknowledged && f.Type != wire.TypeConnectionInit:
			// AppSync ignores what comes before its connection_ack.
		case f.Type == wire.TypeConnectionInit:
			if c.refused != nil {
				e := c.refused.Error
				e.ErrorCode = c.refused.status
				c.fail(wire.TypeConnectionError, "", e)
				c.finish(websocket.StatusPolicyViolation, e.ErrorType)
				c.drain()
				return
			}
			acknowledged = true
			c.send(message{kind: wire.TypeConnectionAck, payload: fmt.Appendf(nil, `{"connectionTimeoutMs":%d}`, connectionTimeout.Milliseconds())})
			// Some clients only start counting at the first ka.
			c.send(message{kind: wire.TypeKeepAlive})
		case f.Type == wire.TypeStart:
			if e := c.start(f.ID, f.Payload); e != nil {
				c.fail(wire.TypeError, id, *e)
			}
		case f.Type == wire.TypeStop:
			// Stopping what is not there is answered alike: a client that stops
			// twice, or after an error, has what it wants.
			if sub := c.subs[f.ID]; sub != nil {
				c.server.hub.unsubscribe(sub)
				delete(c.subs, f.ID)
			}
			c.send(message{kind: wire.TypeComplete, id: id})
		default:
			c.fail(wire.TypeError, id, wire.Error{ErrorType: "UnsupportedOperation", Message: "unknown not supported through the realtime channel"})
		}
	}
}

// drain reads on until the writer has closed the socket, so that the client
// sees why.
func (c *conn) drain() {
	for {
		if _, _, err := c.ws.Read(context.Background()); err != nil {
			return
		}
	}
}
