package appsync

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"presence/internal/wire"
)

// serveRealtime upgrades a request and speaks the protocol of "Building a
// real-time WebSocket client" in the AppSync developer guide.
//
// Origin is not checked, as AppSync does not: a page can only open a useful
// socket with a token it must put into the handshake itself. Nothing a browser
// adds on its own, such as cookies, is looked at, so a foreign page gains
// nothing by connecting.
func (s *Server) serveRealtime(w http.ResponseWriter, r *http.Request) {
	protocols := subprotocols(r.Header)
	header, refused := handshakeHeader(r, protocols)
	if e := notAHandshake(r, header == nil && refused == nil); e != nil {
		if e.status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
		}
		refuse(w, e)
		return
	}
	c := &conn{
		server: s,
		path:   strings.TrimSuffix(r.URL.EscapedPath(), strings.TrimPrefix(RealtimePath, Path)),
		host:   hostOf(r),
		subs:   map[string]*subscription{},
		wake:   make(chan struct{}, 1),
	}
	c.refused = cmp.Or(protocolError(protocols), refused)
	if c.refused == nil {
		identity, err := s.authorize(r.Context(), wire.Credentials{Method: http.MethodPost, Path: c.path + "/connect", Header: header, Body: []byte("{}")})
		if err != nil {
			c.refused = s.refusal(err)
		}
		c.by = callerKey(identity)
	}
	if limit := s.admit(c); limit != "" {
		refuse(w, &requestError{http.StatusTooManyRequests, wire.Error{ErrorType: "LimitExceededError", Message: limit}})
		return
	}
	ws, err := websocket.Accept(throttledWriter{w, c.caller.pace}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{wire.Protocol},
		InsecureSkipVerify: true, // See above.
		OnPingReceived:     c.pinged,
		OnPongReceived:     func(ctx context.Context, payload []byte) { c.pinged(ctx, payload) },
	})
	if err != nil {
		s.release(c)
		return // Accept has answered.
	}
	ws.SetReadLimit(maxFrame)
	c.mu.Lock()
	c.ws = ws
	c.mu.Unlock()

	// The reader is a goroutine of its own so that this one, with its stack and
	// request, does not live as long as the socket.
	switch {
	case c.refused == nil:
		c.send(message{kind: wire.TypeKeepAlive})
	case c.refused.ErrorType == "":
		// Told unasked: aws-appsync-community issue 195.
		c.init()
	}
	s.running.Go(c.write)
	s.running.Go(c.read)
}

// protocolError is what AppSync says to a socket that does not speak its
// protocol. The socket opens nonetheless: aws-appsync-community issue 195,
// graphql-client issue 591.
func protocolError(protocols []string) *requestError {
	switch {
	case len(protocols) == 0:
		return &requestError{http.StatusBadRequest, wire.Error{Message: "NoProtocolError"}}
	case !slices.Contains(protocols, wire.Protocol):
		return &requestError{http.StatusBadRequest, wire.Error{Message: "SubProtocolNotSupportedError"}}
	}
	return nil
}

// notAHandshake returns why a request cannot become a socket, or nil.
func notAHandshake(r *http.Request, anonymous bool) *requestError {
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return &requestError{http.StatusUpgradeRequired, wire.Error{ErrorType: "BadRequestException", Message: "This is the WebSocket endpoint; GraphQL over HTTP is at " + Path + "."}}
	case anonymous:
		return &requestError{http.StatusUnauthorized, wire.Error{ErrorType: "UnauthorizedException", Message: "The handshake carries no authorization: put it into the query's header, the subprotocol header-… or the HTTP headers."}}
	}
	return nil
}

// maxRefused is how many sockets may wait to be told that they are refused. They
// have no caller, so they have a quota together.
const maxRefused = 100

// admit takes a connection in, unless there are too many: then it says so.
func (s *Server) admit(c *conn) (limit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.maxCallerConnections
	if c.refused != nil {
		c.by, most = "refused", maxRefused
	}
	switch {
	case s.closed:
		return "The server is shutting down."
	case len(s.conns) >= s.maxConnections:
		return fmt.Sprintf("There are %d connections already.", s.maxConnections)
	case s.sockets[c.by] >= most:
		return fmt.Sprintf("There are %d connections of this caller already.", most)
	}
	s.conns[c] = struct{}{}
	s.sockets[c.by]++
	c.caller, c.leave = s.quotas.join(c.by)
	return ""
}

// maxWaiting is how many bytes may wait for all clients together. It is reached
// by those that do not read.
const maxWaiting = 48 << 20

// reserve takes room for a message to a client that is behind. It returns false
// if there is none.
func (s *Server) reserve(c *conn, bytes int) bool {
	if c.queued+bytes > maxQueueBytes || s.waiting.Load()+int64(bytes) > maxWaiting {
		return false
	}
	s.waiting.Add(int64(bytes))
	return true
}

// callerKey names a caller for quotas.
func callerKey(i *wire.Identity) string {
	if i == nil {
		return "key"
	}
	return string(i.Mode()) + " " + cmp.Or(i.UserARN, i.Sub)
}

func (s *Server) release(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if s.sockets[c.by]--; s.sockets[c.by] == 0 {
		delete(s.sockets, c.by)
	}
	s.mu.Unlock()
	defer c.leave()
	for _, sub := range c.stopAll() {
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

// unpadded makes one of the alphabets of base64, with and without padding. A
// form decoder has made spaces of the plus signs that clients do not escape.
var unpadded = strings.NewReplacer(" ", "+", "-", "+", "_", "/", "=", "")

// decodeHeader decodes a JSON object in base64.
func decodeHeader(encoded string) (http.Header, *requestError) {
	text, err := base64.RawStdEncoding.DecodeString(unpadded.Replace(encoded))
	if err != nil {
		return nil, &requestError{http.StatusBadRequest, wire.Error{ErrorType: "BadRequestException", Message: "The header of the handshake is not base64."}}
	}
	return authorizationHeader(text)
}

// authorizationHeader makes an HTTP header of the object clients send in place
// of one. Its names come in any case, and some twice.
func authorizationHeader(text []byte) (http.Header, *requestError) {
	var object map[string]string
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return nil, &requestError{http.StatusBadRequest, wire.Error{ErrorType: "BadRequestException", Message: "The authorization is not a JSON object of strings."}}
	}
	header := http.Header{}
	for name, value := range object {
		header.Set(name, value)
	}
	return header, nil
}
