package eventbridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// The waits between tries double from the one to the other. EventBridge has
	// the same shape over hours; ours lets a laptop recover while one watches.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	// maxAttempts is EventBridge's default.
	maxAttempts = 185
	// callTimeout bounds one call of a target.
	callTimeout = 10 * time.Second
	// maxDeadLetters are kept; older ones make room.
	maxDeadLetters = 1000
)

// DeadLetter is an event that could not be delivered.
type DeadLetter struct {
	Rule  string
	Event []byte
	// Attempts is how often the target was called.
	Attempts int
	// Err is why the last attempt failed.
	Err error
}

// DeadLetters returns the events given up on, oldest first.
func (s *Server) DeadLetters() []DeadLetter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]DeadLetter(nil), s.deadLetters...)
}

// delivery is one event on its way to one target.
type delivery struct {
	rule    *Rule
	id      string
	event   []byte
	arrived time.Time
}

// deliver runs the target until it takes the event, or the event is too old.
func (s *Server) deliver(d delivery, delay time.Duration) {
	input, err := d.rule.input(d.event)
	if err != nil {
		s.bury(d, 0, err)
		return
	}
	if delay > 0 && !s.sleep(delay) {
		return
	}
	for attempt := 1; ; attempt++ {
		select {
		case s.slots <- struct{}{}:
		case <-s.calls.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.calls, callTimeout)
		err := d.rule.Target(ctx, input)
		cancel()
		<-s.slots
		if err == nil {
			return
		}
		wait := min(minBackoff<<min(attempt-1, 16), maxBackoff)
		wait = wait/2 + rand.N(wait/2)
		if errors.As(err, new(Permanent)) || attempt == maxAttempts || time.Since(d.arrived)+wait > d.rule.MaxAge {
			s.bury(d, attempt, err)
			return
		}
		s.opts.Logger.Warn("target failed, will be tried again", "rule", d.rule.Name, "event", d.id, "attempt", attempt, "error", err)
		if !s.sleep(wait) {
			return
		}
	}
}

// sleep reports whether d passed before the server was closed.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.waits.Done():
		return false
	}
}

func (s *Server) bury(d delivery, attempts int, err error) {
	s.opts.Logger.Error("event given up", "rule", d.rule.Name, "event", d.id, "attempts", attempts, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deadLetters) == maxDeadLetters {
		s.deadLetters = s.deadLetters[1:]
	}
	s.deadLetters = append(s.deadLetters, DeadLetter{Rule: d.rule.Name, Event: d.event, Attempts: attempts, Err: err})
}
