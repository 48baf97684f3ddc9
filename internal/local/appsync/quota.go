package appsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"presence/internal/wire"
)

// What one caller may use at a time, and all callers together. AppSync publishes
// none of these; they keep one caller from taking what is the others'.
const (
	// maxRequests is how many HTTP requests and starts a caller may have under way.
	// More are refused.
	maxRequests = 512
	// maxCalls is how many resolvers run for a caller. More wait for their turn.
	maxCalls = 8
	// smallBody is how large a body is read without waiting for a turn, in bytes.
	smallBody = 16 << 10
	// maxBodies is how many larger bodies of a caller are read at once, and
	// maxAllBodies of all callers.
	maxBodies    = 8
	maxAllBodies = 32
	// trusted is how much more a caller with the server's own key pair may use:
	// EventBridge is one.
	trusted = 16
)

// quota is what one caller uses. Its channels hold a token for each use.
type quota struct {
	// users are its requests and sockets.
	users, requests, maxRequests int
	// work is for parsing, validation and introspection, which cost time of the
	// processor: one caller gets one.
	work, calls, bodies chan struct{}
	// authorizing is for starts.
	authorizing chan struct{}
	// pace is how fast its sockets are read.
	pace *bucket
}

// quotas has the quota of each caller who uses something.
type quotas struct {
	mu sync.Mutex
	of map[string]*quota
}

// enter begins a request of a caller. It is nil if there are too many.
func (s *quotas) enter(caller string) (q *quota, leave func()) {
	q, part := s.join(caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.requests >= q.maxRequests {
		q.users--
		return nil, nil
	}
	q.requests++
	return q, func() {
		s.mu.Lock()
		q.requests--
		s.mu.Unlock()
		part()
	}
}

// join returns the quota of a caller, which is kept until everybody has left it.
func (s *quotas) join(caller string) (q *quota, leave func()) {
	times := 1
	if strings.HasPrefix(caller, string(wire.ModeIAM)) {
		times = trusted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q = s.of[caller]
	if q == nil {
		q = &quota{
			maxRequests: maxRequests * times, work: make(chan struct{}, times), calls: make(chan struct{}, maxCalls*times),
			bodies: make(chan struct{}, maxBodies*times), authorizing: make(chan struct{}, times), pace: newBucket(),
		}
		s.of[caller] = q
	}
	q.users++
	return q, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(s.of, caller)
		}
	}
}

// turn waits for a turn, and returns what ends it.
func turn(turns chan struct{}) (done func()) {
	turns <- struct{}{}
	return func() { <-turns }
}

func tooManyRequests() *requestError {
	return &requestError{http.StatusTooManyRequests, wire.Error{ErrorType: "LimitExceededError", Message: fmt.Sprintf("There are %d requests of this caller under way already.", maxRequests)}}
}

// leaveBody answers a request without waiting for its body, which net/http does
// to keep the connection.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		w.Header().Set("Connection", "close")
	}
}

// readBody reads a request's body. What is large waits for its caller's turn
// and for one of the turns of all callers, so that unfinished bodies take
// memory from nobody else.
func (s *Server) readBody(ctx context.Context, w http.ResponseWriter, r *http.Request, q *quota) ([]byte, *requestError) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	var body bytes.Buffer
	_, err := io.CopyN(&body, limited, smallBody)
	if err == nil { // There may be more.
		for _, turns := range []chan struct{}{q.bodies, s.bodies} {
			select {
			case turns <- struct{}{}:
				defer func() { <-turns }()
			case <-ctx.Done():
				return nil, malformed("The request body could not be read.", nil)
			}
		}
		_, err = body.ReadFrom(limited)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &requestError{http.StatusRequestEntityTooLarge, wire.Error{ErrorType: "RequestEntityTooLargeException", Message: "The request body is larger than 1 MB."}}
	case err != nil && !errors.Is(err, io.EOF):
		return nil, malformed("The request body could not be read.", nil)
	}
	return body.Bytes(), nil
}
