package appsync

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/ast"

	"presence"
	"presence/internal/appsync"
)

const (
	// connectionTimeout is what connection_ack promises: after that long without
	// a ka, a client gives the connection up.
	connectionTimeout = 5 * time.Minute
	// maxLife is how long AppSync keeps a connection.
	maxLife = 24 * time.Hour

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

const (
	closeGoingAway = websocket.StatusGoingAway
	closePolicy    = websocket.StatusPolicyViolation
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

// conn is one socket. Its reader, the goroutine of the HTTP request, handles
// what arrives and owns subs; its writer is the only one to write. Both end
// when the socket does.
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

// serveRealtime upgrades a request and speaks the protocol of "Building a
// real-time WebSocket client" in the AppSync developer guide.
//
// Origin is not checked, as AppSync does not: a page can only open a useful
// socket with a token it must put into the handshake itself. Nothing a browser
// adds on its own, such as cookies, is looked at, so a foreign page gains
// nothing by connecting.
func (s *Server) serveRealtime(w http.ResponseWriter, r *http.Request) {
	protocols := subprotocols(r.Header)
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		w.Header().Set("Upgrade", "websocket")
		refuse(w, &requestError{http.StatusUpgradeRequired, appsync.Error{ErrorType: "BadRequestException", Message: "This is the WebSocket endpoint; GraphQL over HTTP is at " + Path + "."}})
		return
	case !slices.Contains(protocols, appsync.Protocol):
		refuse(w, &requestError{http.StatusBadRequest, appsync.Error{ErrorType: "BadRequestException", Message: "The WebSocket subprotocol must be " + appsync.Protocol + "."}})
		return
	}
	header, refused := handshakeHeader(r, protocols)
	if header == nil && refused == nil {
		refuse(w, &requestError{http.StatusUnauthorized, appsync.Error{ErrorType: "UnauthorizedException", Message: "The handshake carries no authorization: put it into the query's header, the subprotocol header-… or the HTTP headers."}})
		return
	}
	c := &conn{
		server: s,
		path:   strings.TrimSuffix(r.URL.EscapedPath(), strings.TrimPrefix(RealtimePath, Path)),
		subs:   map[string]*subscription{},
		wake:   make(chan struct{}, 1),
	}
	if !s.admit(c) {
		refuse(w, &requestError{http.StatusTooManyRequests, appsync.Error{ErrorType: "LimitExceededError", Message: fmt.Sprintf("There are %d connections already.", s.maxConnections)}})
		return
	}
	defer s.release(c)
	if refused == nil {
		if _, err := s.authorize(r.Context(), appsync.Credentials{Method: http.MethodPost, Path: c.path + "/connect", Header: header, Body: []byte("{}")}); err != nil {
			refused = s.refusal(err)
		}
	}
	c.refused = refused
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{appsync.Protocol},
		InsecureSkipVerify: true, // See above.
	})
	if err != nil {
		return // Accept has answered.
	}
	ws.SetReadLimit(maxFrame)
	c.mu.Lock()
	c.ws = ws
	c.mu.Unlock()

	s.running.Go(c.write)
	c.read()
}

// admit takes a connection in, unless there are too many.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= s.maxConnections {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) release(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	for _, sub := range c.subs {
		s.hub.unsubscribe(sub)
	}
}

func subprotocols(h http.Header) []string {
	var list []string
	for _, value := range h.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(value, ",") {
			list = append(list, strings.TrimSpace(name))
		}
	}
	return list
}

// handshakeHeader finds the credentials in one of the three places clients put
// them: a subprotocol, the query, or the request's own headers. It returns nil
// if there are none.
func handshakeHeader(r *http.Request, protocols []string) (http.Header, *requestError) {
	for _, protocol := range protocols {
		if encoded, ok := strings.CutPrefix(protocol, "header-"); ok {
			return decodeHeader(encoded)
		}
	}
	if encoded := r.URL.Query().Get("header"); encoded != "" {
		return decodeHeader(encoded)
	}
	if r.Header.Get("Authorization") == "" && r.Header.Get("X-Api-Key") == "" {
		return nil, nil
	}
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	return header, nil
}

// decodeHeader decodes a JSON object in base64, of either alphabet and with or
// without padding. A form decoder has made spaces of the plus signs that
// clients do not escape.
func decodeHeader(encoded string) (http.Header, *requestError) {
	encoded = strings.NewReplacer(" ", "+", "-", "+", "_", "/", "=", "").Replace(encoded)
	text, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, &requestError{http.StatusBadRequest, appsync.Error{ErrorType: "BadRequestException", Message: "The header of the handshake is not base64."}}
	}
	return authorizationHeader(text)
}

// authorizationHeader makes an HTTP header of the object clients send in place
// of one. Its names come in any case, and some twice.
func authorizationHeader(text []byte) (http.Header, *requestError) {
	var object map[string]string
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return nil, &requestError{http.StatusBadRequest, appsync.Error{ErrorType: "BadRequestException", Message: "The authorization is not a JSON object of strings."}}
	}
	header := http.Header{}
	for name, value := range object {
		header.Set(name, value)
	}
	return header, nil
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
func (c *conn) fail(kind, id string, e appsync.Error) {
	c.send(message{kind: kind, id: id, payload: encode(map[string]any{"errors": []appsync.Error{e}})})
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
	keepAlive := time.NewTicker(c.server.keepAlive)
	defer keepAlive.Stop()
	keepAlive.Stop()

	var frame []byte
	var spare []message // The queue before, emptied: two take turns.
	for {
		select {
		case <-c.wake:
		case <-keepAlive.C:
			c.send(message{kind: appsync.TypeKeepAlive})
		case <-unacknowledged.C:
			c.finish(closePolicy, "connection_init did not arrive in time.")
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
			if m.kind == appsync.TypeConnectionAck {
				unacknowledged.Stop()
				keepAlive.Reset(c.server.keepAlive)
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
	defer c.finish(websocket.StatusNormalClosure, "") // Wakes the writer.
	var acknowledged bool
	var second time.Time
	var received int
	for {
		kind, data, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		var f appsync.Frame
		if kind != websocket.MessageText || json.Unmarshal(data, &f) != nil {
			c.fail(appsync.TypeError, "", appsync.Error{ErrorType: "BadRequestException", Message: "The message is not a JSON text frame."})
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
			c.fail(appsync.TypeError, id, appsync.Error{ErrorType: "LimitExceededError", Message: "Rate limit exceeded"})
			continue
		}
		switch {
		case !acknowledged && f.Type != appsync.TypeConnectionInit:
			// AppSync ignores what comes before its connection_ack.
		case f.Type == appsync.TypeConnectionInit:
			if c.refused != nil {
				e := c.refused.Error
				e.ErrorCode = c.refused.status
				c.fail(appsync.TypeConnectionError, "", e)
				c.finish(closePolicy, e.ErrorType)
				c.drain()
				return
			}
			acknowledged = true
			c.send(message{kind: appsync.TypeConnectionAck, payload: fmt.Appendf(nil, `{"connectionTimeoutMs":%d}`, connectionTimeout.Milliseconds())})
			// Some clients only start counting at the first ka.
			c.send(message{kind: appsync.TypeKeepAlive})
		case f.Type == appsync.TypeStart:
			if e := c.start(f.ID, f.Payload); e != nil {
				c.fail(appsync.TypeError, id, *e)
			}
		case f.Type == appsync.TypeStop:
			// Stopping what is not there is answered alike: a client that stops
			// twice, or after an error, has what it wants.
			if sub := c.subs[f.ID]; sub != nil {
				c.server.hub.unsubscribe(sub)
				delete(c.subs, f.ID)
			}
			c.send(message{kind: appsync.TypeComplete, id: id})
		default:
			c.fail(appsync.TypeError, id, appsync.Error{ErrorType: "UnsupportedOperation", Message: "unknown not supported through the realtime channel"})
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

// start subscribes, on its own authorization: one socket may carry the
// subscriptions of many callers.
func (c *conn) start(id string, payload json.RawMessage) *appsync.Error {
	s := c.server
	var start struct {
		Data       *string `json:"data"`
		Extensions struct {
			Authorization json.RawMessage `json:"authorization"`
		} `json:"extensions"`
	}
	switch err := json.Unmarshal(payload, &start); {
	case err != nil || start.Data == nil:
		return &appsync.Error{ErrorType: "BadRequestException", Message: "The payload of start has no data, a string of query and variables."}
	case id == "":
		return &appsync.Error{ErrorType: "BadRequestException", Message: "The start has no id."}
	case c.subs[id] != nil:
		return &appsync.Error{ErrorType: "DuplicatedOperationError", Message: "There is a subscription with this id already."}
	case len(c.subs) >= s.maxSubscriptions:
		return &appsync.Error{ErrorType: "MaxSubscriptionsReachedError", Message: fmt.Sprintf("Max number of %d subscriptions reached", s.maxSubscriptions)}
	}
	if start.Extensions.Authorization == nil {
		return &appsync.Error{ErrorType: "UnauthorizedException", Message: unauthorized}
	}
	header, refused := authorizationHeader(start.Extensions.Authorization)
	if refused != nil {
		return &refused.Error
	}
	identity, err := s.authorize(context.Background(), appsync.Credentials{Method: http.MethodPost, Path: c.path, Header: header, Body: []byte(*start.Data)})
	if err != nil {
		return &s.refusal(err).Error
	}
	t := s.hub.lookup(*start.Data)
	if t == nil {
		var e *appsync.Error
		if t, e = s.topic(*start.Data); e != nil {
			return e
		}
	}
	if message := denied(t.op, s.schema.Subscription, t.op.def.SelectionSet, identity); message != "" {
		return &appsync.Error{ErrorType: string(presence.Unauthorized), Message: message}
	}
	sub := &subscription{conn: c, id: string(encode(id)), topic: t}
	c.subs[id] = sub
	s.hub.subscribe(sub)
	return nil
}

// topic parses the data of a start.
func (s *Server) topic(data string) (*topic, *appsync.Error) {
	req, refused := decodeRequest([]byte(data))
	if refused != nil {
		return nil, &refused.Error
	}
	op, invalid, refused := prepare(s.schema, s.rules, req)
	switch {
	case refused != nil:
		return nil, &refused.Error
	case invalid != nil:
		e := &appsync.Error{ErrorType: "ValidationError", Message: invalid[0].Message, Locations: invalid[0].Locations}
		if invalid[0].resolverError != nil {
			e.ErrorType = invalid[0].ErrorType
		}
		return nil, e
	case op.def.Operation != ast.Subscription:
		return nil, &appsync.Error{ErrorType: "UnsupportedOperation", Message: string(op.def.Operation) + " not supported through the realtime channel"}
	}
	fields := op.fields(op.def.SelectionSet, s.schema.Subscription)
	if len(fields) != 1 || fields[0].Name == "__typename" {
		return nil, &appsync.Error{ErrorType: "ValidationError", Message: "A subscription selects one field."}
	}
	args, wrong := op.arguments(fields[0], fields[0].Name)
	if wrong != nil {
		return nil, &appsync.Error{ErrorType: "ValidationError", Message: wrong.Message, Locations: wrong.Locations}
	}
	return s.hub.newTopic(data, op, fields[0], args), nil
}

// denied returns why a caller may not have all of what a subscription selects,
// or nothing.
func denied(op *operation, parent *ast.Definition, set ast.SelectionSet, caller *appsync.Identity) string {
	for _, object := range op.schema.GetPossibleTypes(parent) {
		for _, f := range op.fields(set, object) {
			if f.Name == "__typename" {
				continue
			}
			if !admits(object, f.Definition, caller) {
				return denial(object, f.Name)
			}
			if def := op.schema.Types[f.Definition.Type.Name()]; def.IsCompositeType() {
				if message := denied(op, def, f.Selections, caller); message != "" {
					return message
				}
			}
		}
	}
	return ""
}
