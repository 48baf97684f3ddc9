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

// conn is one socket. Its reader handles what arrives; its writer is the only
// one to write. Both end when the socket does.
type conn struct {
	server *Server
	ws     *websocket.Conn
	// refused is why the handshake's credentials were not accepted, or nil.
	refused *requestError
	// path is the GraphQL endpoint's, which signatures of starts are over.
	path string
	// host is the address of the client.
	host string
	// starting holds a token for each start while its resolver runs.
	starting chan struct{}

	mu sync.Mutex
	// subs are the subscriptions by the client's ids, those that are starting
	// among them.
	subs  map[string]*subscription
	queue []message
	// ended is set once nothing more may be queued.
	ended bool
	// wake has a token when the queue has something new.
	wake chan struct{}
}

// send queues a message. A client that has let too many pile up is cut.
func (c *conn) send(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(m)
}

func (c *conn) sendLocked(m message) {
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
	c.signal()
}

// deliver queues data for a subscription that has not been stopped.
func (c *conn) deliver(sub *subscription, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !sub.stopped {
		c.sendLocked(message{kind: wire.TypeData, id: sub.id, payload: payload})
	}
}

// acknowledge answers a start, and returns false if it has been stopped.
func (c *conn) acknowledge(sub *subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sub.stopped {
		return false
	}
	c.sendLocked(message{kind: wire.TypeStartAck, id: sub.id})
	return true
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
	w := newWriter(c.ws)
	defer w.stop()
	for {
		select {
		case <-c.wake:
		case <-w.keepAlive.C:
			c.send(message{kind: wire.TypeKeepAlive})
		case <-w.unacknowledged.C:
			c.finish(websocket.StatusPolicyViolation, "connection_init did not arrive in time.")
		case <-w.life.C:
			c.finish(websocket.StatusNormalClosure, "The connection is 24 hours old.")
		}
		c.mu.Lock()
		queue, ended := c.queue, c.ended
		c.queue = w.spare
		c.mu.Unlock()
		if !w.send(queue) || ended {
			return
		}
		w.reuse(queue)
	}
}

// writer is what only the writing goroutine uses.
type writer struct {
	ws *websocket.Conn
	// tooSlow ends a socket that does not take a message.
	tooSlow              *time.Timer
	life, unacknowledged *time.Timer
	keepAlive            *time.Ticker
	frame                []byte
	// spare is the queue before, emptied: two take turns.
	spare []message
}

func newWriter(ws *websocket.Conn) *writer {
	w := &writer{
		ws:             ws,
		tooSlow:        time.AfterFunc(writeTimeout, func() { _ = ws.CloseNow() }),
		life:           time.NewTimer(maxLife),
		unacknowledged: time.NewTimer(initTimeout),
		keepAlive:      time.NewTicker(keepAlive),
	}
	w.tooSlow.Stop()
	w.keepAlive.Stop()
	return w
}

func (w *writer) stop() {
	w.tooSlow.Stop()
	w.life.Stop()
	w.unacknowledged.Stop()
	w.keepAlive.Stop()
	_ = w.ws.CloseNow()
}

// send writes messages. It returns false if the socket has ended.
func (w *writer) send(queue []message) bool {
	for _, m := range queue {
		if m.kind == "" {
			_ = w.ws.Close(m.status, m.reason)
			return false
		}
		w.frame = m.append(w.frame[:0])
		w.tooSlow.Reset(writeTimeout)
		err := w.ws.Write(context.Background(), websocket.MessageText, w.frame)
		w.tooSlow.Stop()
		if err != nil {
			return false
		}
		if m.kind == wire.TypeConnectionAck {
			w.unacknowledged.Stop()
			w.keepAlive.Reset(keepAlive)
		}
	}
	return true
}

// reuse keeps a queue that has been sent, unless it has grown large.
func (w *writer) reuse(queue []message) {
	clear(queue)
	if w.spare = queue[:0]; cap(w.spare) > 64 {
		w.spare = nil
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
	var limit rate
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
		switch {
		case !limit.admits(time.Now()):
			c.fail(wire.TypeError, jsonID(f.ID), wire.Error{ErrorType: "LimitExceededError", Message: "Rate limit exceeded"})
		case f.Type == wire.TypeConnectionInit:
			if !c.init() {
				c.drain()
				return
			}
			acknowledged = true
		case acknowledged:
			c.handle(f)
		default:
			// AppSync ignores what comes before its connection_ack.
		}
	}
}

// rate counts the messages of a second.
type rate struct {
	second   time.Time
	received int
}

func (r *rate) admits(now time.Time) bool {
	if now.Sub(r.second) >= time.Second {
		r.second, r.received = now, 0
	}
	r.received++
	return r.received <= maxRate
}

// init answers connection_init. It returns false if the handshake's credentials
// were refused.
func (c *conn) init() bool {
	if c.refused != nil {
		e := c.refused.Error
		e.ErrorCode = c.refused.status
		c.fail(wire.TypeConnectionError, "", e)
		c.finish(websocket.StatusPolicyViolation, e.ErrorType)
		return false
	}
	c.send(message{kind: wire.TypeConnectionAck, payload: fmt.Appendf(nil, `{"connectionTimeoutMs":%d}`, connectionTimeout.Milliseconds())})
	// Some clients only start counting at the first ka.
	c.send(message{kind: wire.TypeKeepAlive})
	return true
}

// handle answers a message of a client that has been acknowledged.
func (c *conn) handle(f wire.Frame) {
	switch f.Type {
	case wire.TypeStart:
		if e := c.start(f.ID, f.Payload); e != nil {
			c.fail(wire.TypeError, jsonID(f.ID), *e)
		}
	case wire.TypeStop:
		c.stop(f.ID)
	default:
		c.fail(wire.TypeError, jsonID(f.ID), wire.Error{ErrorType: "UnsupportedOperation", Message: "unknown not supported through the realtime channel"})
	}
}

// jsonID is a client's id as JSON, or nothing if it has none.
func jsonID(id string) string {
	if id == "" {
		return ""
	}
	return string(encode(id))
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
