package appsync

import (
	"cmp"
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
	// maxRateBytes is how many bytes of messages a client may send in a second. A
	// client that sends twice as many, or twice as many messages, is cut.
	maxRateBytes = 4 << 20
	// maxQueueBytes is how many bytes may wait for a client: enough for what 200
	// subscriptions get of one change.
	maxQueueBytes = 4 << 20
	// maxID is how long the id of a subscription may be, in bytes.
	maxID = 128
	// maxEchoed is how large a message above the rate may be to be read for its id.
	maxEchoed = 4 << 10
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

// size is what a message costs while it waits, in bytes.
func (m message) size() int { return 100 + len(m.id) + len(m.payload) }

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
	// by is the caller whose quota the socket is of.
	by     string
	caller *quota
	leave  func()
	// limit is what has arrived. It belongs to the reader.
	limit rate
	mu    sync.Mutex
	// subs are the subscriptions by the client's ids, those that are starting
	// among them.
	subs  map[string]*subscription
	queue []message
	// queued is how many bytes wait, those that are being sent among them.
	queued int
	// begun is set by the first connection_init or start.
	begun bool
	// ended is set once nothing more may be queued, and wasCut once the socket is
	// being closed.
	ended, wasCut bool
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
	case len(c.queue) >= maxQueue || c.queued > 0 && !c.server.reserve(c, m.size()):
		c.ended = true
		c.server.log.Warn("subscriber cut: it does not keep up", slog.Int("queued", len(c.queue)), slog.Int("bytes", c.queued))
		c.queue = nil
		c.cutLocked()
	default:
		if c.queued == 0 {
			c.server.waiting.Add(int64(m.size()))
		}
		c.queued += m.size()
		c.queue = append(c.queue, m)
		c.ended = m.kind == ""
	}
	c.signal()
}

// sent takes a message off what waits.
func (c *conn) sent(m message) {
	c.mu.Lock()
	c.queued -= m.size()
	c.mu.Unlock()
	c.server.waiting.Add(-int64(m.size()))
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
	if c.ws != nil && !c.wasCut {
		c.wasCut = true
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
	defer c.forget()
	for {
		select {
		case <-c.wake:
		case <-w.keepAlive.C:
			c.send(message{kind: wire.TypeKeepAlive})
		case <-w.unacknowledged.C:
			if c.hasBegun() {
				continue
			}
			c.finish(websocket.StatusPolicyViolation, "connection_init did not arrive in time.")
		case <-w.life.C:
			c.finish(websocket.StatusNormalClosure, "The connection is 24 hours old.")
		}
		c.mu.Lock()
		queue, ended := c.queue, c.ended
		c.queue = w.spare
		c.mu.Unlock()
		if !w.send(queue, c.sent) || ended {
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
	return w
}

func (w *writer) stop() {
	w.tooSlow.Stop()
	w.life.Stop()
	w.unacknowledged.Stop()
	w.keepAlive.Stop()
	_ = w.ws.CloseNow()
}

// send writes messages, and tells sent of each. It returns false if the socket
// has ended.
func (w *writer) send(queue []message, sent func(message)) bool {
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
		sent(m)
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

// begin notes that the client has said what it wants.
func (c *conn) begin() {
	c.mu.Lock()
	c.begun = true
	c.mu.Unlock()
}

func (c *conn) hasBegun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

// forget takes what was not sent off the server's account.
func (c *conn) forget() {
	c.mu.Lock()
	c.ended, c.queue = true, nil
	c.server.waiting.Add(-int64(c.queued))
	c.queued = 0
	c.mu.Unlock()
}

// read handles what the client sends until the socket ends.
func (c *conn) read() {
	defer c.server.release(c)
	defer c.finish(websocket.StatusNormalClosure, "") // Wakes the writer.
	for {
		kind, data, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		pace := c.limit.pace(time.Now(), len(data))
		if pace == flood {
			c.finish(websocket.StatusPolicyViolation, "Rate limit exceeded")
			return
		}
		var f wire.Frame
		readable := pace == normal || len(data) <= maxEchoed
		switch {
		case readable && (kind != websocket.MessageText || json.Unmarshal(data, &f) != nil):
			c.fail(wire.TypeError, "", wire.Error{ErrorType: "BadRequestException", Message: "The message is not a JSON text frame."})
			c.finish(websocket.StatusInvalidFramePayloadData, "The message is not JSON.")
			c.drain()
			return
		case len(f.ID) > maxID:
			c.fail(wire.TypeError, "", wire.Error{ErrorType: "BadRequestException", Message: fmt.Sprintf("The id is longer than %d bytes.", maxID)})
		case pace == tooFast:
			c.fail(wire.TypeError, jsonID(f.ID), wire.Error{ErrorType: "LimitExceededError", Message: "Rate limit exceeded"})
		case !c.handle(f):
			c.drain()
			return
		}
	}
}

// pinged counts a ping and reports whether to answer it.
func (c *conn) pinged(context.Context, []byte) bool {
	switch c.limit.pace(time.Now(), 0) {
	case normal:
		return true
	case flood:
		c.cut()
	}
	return false
}

// The paces at which a client may send.
const (
	normal = iota
	// tooFast is answered with an error, and flood by cutting the socket.
	tooFast
	flood
)

// rate counts the messages of a second, pings among them.
type rate struct {
	second          time.Time
	received, bytes int
}

func (r *rate) pace(now time.Time, bytes int) int {
	if now.Sub(r.second) >= time.Second {
		*r = rate{second: now}
	}
	r.received++
	r.bytes += bytes
	switch {
	case r.received > 2*maxRate || r.bytes > 2*maxRateBytes:
		return flood
	case r.received > maxRate || r.bytes > maxRateBytes:
		return tooFast
	}
	return normal
}

// init answers connection_init. It returns false if the handshake's credentials
// were refused.
func (c *conn) init() bool {
	if c.refused != nil {
		e := c.refused.Error
		e.ErrorCode = c.refused.status
		c.fail(wire.TypeConnectionError, "", e)
		c.finish(websocket.StatusPolicyViolation, cmp.Or(e.ErrorType, e.Message))
		return false
	}
	c.begin()
	c.send(message{kind: wire.TypeConnectionAck, payload: fmt.Appendf(nil, `{"connectionTimeoutMs":%d}`, connectionTimeout.Milliseconds())})
	// Some clients only start counting at the first ka.
	c.send(message{kind: wire.TypeKeepAlive})
	return true
}

// handle answers a message. It returns false if the handshake's credentials were
// refused. connection_init is optional, as in AppSync.
func (c *conn) handle(f wire.Frame) bool {
	switch f.Type {
	case wire.TypeConnectionInit:
		return c.init()
	case wire.TypeStart:
		if c.refused != nil {
			return c.init()
		}
		c.begin()
		if e := c.start(f.ID, f.Payload); e != nil {
			c.fail(wire.TypeError, jsonID(f.ID), *e)
		}
	case wire.TypeStop:
		c.stop(f.ID)
	default:
		c.fail(wire.TypeError, jsonID(f.ID), wire.Error{ErrorType: "UnsupportedOperation", Message: "unknown not supported through the realtime channel"})
	}
	return true
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
