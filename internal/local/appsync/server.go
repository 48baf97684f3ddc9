// Package appsync is a local AWS AppSync: GraphQL over HTTP and the real-time
// WebSocket protocol, for one schema, one resolver and one Lambda function.
//
// Stock clients must not notice the difference, so statuses, headers, error
// shapes and frames are AppSync's; docs/local-appsync.md lists what is
// emulated, in part or not, and where each fact comes from. Parsing,
// validation, introspection and the merging of selections are gqlparser's and
// gqlgen's, sockets coder/websocket's. The schema alone says what can be
// called: every root field runs the resolver's code, which calls the [Invoker]
// once, and everything below it is read from what the code returns.
package appsync

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"presence/internal/local/appsync/appsyncjs"
	"presence/internal/sdl"
	"presence/internal/wire"
)

// The paths of the two endpoints. Clients derive the second from the first
// for every endpoint that is not on an AWS domain.
const (
	Path         = "/graphql"
	RealtimePath = "/graphql/realtime"
)

// Options configure a [Server]. Schema, Code, Invoker and Authorize are
// required.
type Options struct {
	// Schema is GraphQL SDL. AppSync's directives and scalars are known.
	Schema string
	// Code is the APPSYNC_JS code of every root field's resolver.
	Code string
	// Env is what the code sees as ctx.env.
	Env     map[string]string
	Invoker Invoker
	// Authorize says who a caller is; nil without an error is a caller with an
	// API key. Its errors are [presence.Error] values, and their message is sent:
	// Unauthorized is a 401, Unavailable a 503. It must be safe for concurrent
	// use.
	Authorize func(context.Context, wire.Credentials) (*wire.Identity, error)
	// CheckSignature says whether a signed request is worth reading: it sees the
	// credentials without a body. Nil means all are.
	CheckSignature func(wire.Credentials) error
	// Logger takes what clients are not told. Nil means slog.Default.
	Logger *slog.Logger
	// InvokeTimeout is how long one call of the Invoker may take. Zero means
	// AppSync's 30 s.
	InvokeTimeout time.Duration
	// MaxConnections is how many sockets may be open. Zero means 20,000; AppSync
	// publishes no limit.
	MaxConnections int
	// MaxCallerConnections is how many of them one caller may have. Zero means
	// 1,000.
	MaxCallerConnections int
}

// Server is a local AppSync. It is an [http.Handler] for [Path] and
// [RealtimePath], safe for concurrent use, and must be closed.
type Server struct {
	schema    *ast.Schema
	rules     *rules.Rules
	code      *appsyncjs.Code
	invoker   Invoker
	authorize func(context.Context, wire.Credentials) (*wire.Identity, error)
	log       *slog.Logger
	hub       *hub

	checkSignature func(wire.Credentials) error
	quotas         quotas
	// bodies holds a token for each large body that is read.
	bodies chan struct{}

	invokeTimeout        time.Duration
	maxConnections       int
	maxCallerConnections int
	// waiting is how many bytes wait for clients that have not read them.
	waiting atomic.Int64

	// running counts requests, sockets' goroutines and calls of the Invoker.
	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	conns   map[*conn]struct{}
	// sockets is how many of them each caller has.
	sockets map[string]int
}

// New returns a Server. A schema or code that AppSync would refuse is a
// [presence.InvalidArgument] error.
func New(o Options) (*Server, error) {
	schema, err := sdl.Load(o.Schema)
	if err != nil {
		return nil, err
	}
	log := cmp.Or(o.Logger, slog.Default())
	code, err := appsyncjs.Compile(o.Code, o.Env, log)
	if err != nil {
		return nil, err
	}
	return &Server{
		schema:         schema,
		rules:          rules.NewDefaultRules(),
		code:           code,
		invoker:        o.Invoker,
		authorize:      o.Authorize,
		log:            log,
		hub:            newHub(schema),
		invokeTimeout:  cmp.Or(o.InvokeTimeout, 30*time.Second),
		maxConnections: cmp.Or(o.MaxConnections, 20_000),
		conns:          map[*conn]struct{}{},
		sockets:        map[string]int{},
		checkSignature: o.CheckSignature,
		quotas:         quotas{of: map[string]*quota{}},
		bodies:         make(chan struct{}, maxAllBodies),

		maxCallerConnections: cmp.Or(o.MaxCallerConnections, 1_000),
	}, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		refuse(w, &requestError{http.StatusServiceUnavailable, wire.Error{ErrorType: "ServiceUnavailableException", Message: "The server is shutting down."}})
		return
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()

	switch r.URL.Path {
	case Path:
		s.serveGraphQL(w, r)
	case RealtimePath:
		s.serveRealtime(w, r)
	default:
		refuse(w, &requestError{http.StatusNotFound, wire.Error{ErrorType: "NotFoundException", Message: "There is nothing here: GraphQL is at " + Path + ", its WebSocket at " + RealtimePath + "."}})
	}
}

// Close refuses new requests, closes all sockets with status 1001 and waits
// until everything the server has started has ended. When ctx ends before
// that, sockets are cut and its error is returned.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.finish(websocket.StatusGoingAway, "The server is shutting down.")
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
	return ctx.Err()
}
