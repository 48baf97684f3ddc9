// Package eventbridge is an EventBridge for a laptop: it takes PutEvents from
// the AWS SDKs over HTTP, matches rules and runs their targets, and can be told
// to fail in the ways EventBridge may.
package eventbridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"quamina.net/go/quamina"
)

// Options configures a [Server].
type Options struct {
	// Rules are the rules of all buses. A bus exists if a rule is on it.
	Rules []Rule
	// Region and Account are what events say they are from. Empty means
	// us-east-1 and 000000000000.
	Region, Account string
	// Authorize checks the signature of a request with that body. Nil lets
	// everybody in who has signed at all.
	Authorize func(r *http.Request, body []byte) error
	// Logger takes what becomes of deliveries, without the events' details. Nil
	// means [slog.Default].
	Logger *slog.Logger
}

// Rule sends the events of a bus that match a pattern to a target.
type Rule struct {
	Name string
	// Bus is the name of the bus.
	Bus string
	// Pattern is an EventBridge event pattern. Of EventBridge's comparison
	// operators those work that Quamina has: exact values, prefix, exists,
	// anything-but, equals-ignore-case, shellstyle and wildcard.
	Pattern string
	// InputPaths and InputTemplate are the target's input transformer; its JSON
	// paths are dotted names like $.detail.userId. Without a template the target
	// gets the whole event.
	InputPaths    map[string]string
	InputTemplate string
	// MaxAge is how long after its arrival an event is still tried. Zero means
	// one minute, the least AWS allows.
	MaxAge time.Duration
	Target Target
}

// Target is what a rule runs. What it cannot deliver it returns as an error;
// unless that is a [Permanent], it is called again.
type Target func(ctx context.Context, input []byte) error

// Permanent is an error that another try will not cure. EventBridge gives up
// at once on a target that is not there or may not be called.
type Permanent struct{ Err error }

// Error implements error.
func (p Permanent) Error() string { return p.Err.Error() }

// Unwrap returns the cause.
func (p Permanent) Unwrap() error { return p.Err }

// Server is an EventBridge. It is safe for concurrent use, and an
// [http.Handler] for the endpoint the SDKs are given as AWS_ENDPOINT_URL.
type Server struct {
	opts  Options
	buses map[string]*bus

	faults faults
	// waits ends when Close begins, so that nobody sleeps on; calls ends when
	// Close has waited for long enough.
	waits, calls         context.Context
	endWaits, abortCalls context.CancelFunc
	// slots bounds the target calls under way. Deliveries beyond it are late,
	// not lost, as in EventBridge.
	slots chan struct{}

	mu          sync.Mutex
	closed      bool
	deliveries  sync.WaitGroup
	deadLetters []DeadLetter
}

// bus is the rules of one bus. Quamina, by EventBridge's first author, matches
// patterns as EventBridge does; it is for one goroutine at a time.
type bus struct {
	mu       sync.Mutex
	patterns *quamina.Quamina
}

const maxCalls = 64

// New returns a Server. A rule that EventBridge would not take is an error.
func New(opts Options) (*Server, error) {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Account == "" {
		opts.Account = "000000000000"
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &Server{opts: opts, buses: map[string]*bus{}, slots: make(chan struct{}, maxCalls)}
	for i := range opts.Rules {
		rule := opts.Rules[i]
		if rule.MaxAge == 0 {
			rule.MaxAge = time.Minute
		}
		b := s.buses[rule.Bus]
		if b == nil {
			q, err := quamina.New(quamina.WithMediaType("application/json"))
			if err != nil {
				return nil, fmt.Errorf("eventbridge: %w", err)
			}
			b = &bus{patterns: q}
			s.buses[rule.Bus] = b
		}
		if err := b.patterns.AddPattern(&rule, rule.Pattern); err != nil {
			return nil, fmt.Errorf("eventbridge: rule %s: %w", rule.Name, err)
		}
	}
	s.waits, s.endWaits = context.WithCancel(context.Background())
	s.calls, s.abortCalls = context.WithCancel(context.Background())
	return s, nil
}

// Close stops taking events, gives up those that are held up or wait for
// another try, and waits until the rest is delivered; when ctx ends first, it
// aborts what is under way and returns ctx's error.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.endWaits()
	stop := context.AfterFunc(ctx, s.abortCalls)
	s.deliveries.Wait()
	s.abortCalls()
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// begin keeps Close waiting until deliveries.Done, unless it has begun already.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.deliveries.Add(1)
	}
	return !s.closed
}

// event is the envelope, see "Event structure" in the EventBridge user guide.
type event struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// accept takes one valid entry and returns its event's ID. An event for a bus
// that does not exist is dropped without a word, see "PutEvents" in the
// EventBridge user guide.
func (s *Server) accept(e *entry) (id string) {
	now := time.Now()
	at := now
	if e.Time != nil {
		at = time.UnixMilli(int64(*e.Time * 1000))
	}
	ev := event{
		Version: "0", ID: uuid.NewString(), DetailType: e.DetailType, Source: e.Source, Account: s.opts.Account,
		Time: at.UTC().Format(time.RFC3339), Region: s.opts.Region, Resources: e.Resources, Detail: json.RawMessage(e.Detail),
	}
	if ev.Resources == nil {
		ev.Resources = []string{}
	}
	b := s.buses[busName(e.EventBusName)]
	if b == nil {
		return ev.ID
	}
	raw, err := json.Marshal(ev)
	if err != nil {
		s.opts.Logger.Error("event cannot be encoded", "event", ev.ID, "error", err)
		return ev.ID
	}
	b.mu.Lock()
	matches, err := b.patterns.MatchesForEvent(raw)
	b.mu.Unlock()
	if err != nil {
		s.opts.Logger.Error("event cannot be matched", "event", ev.ID, "error", err)
	}
	for _, match := range matches {
		for _, delay := range s.faults.deliveries() {
			d := delivery{rule: match.(*Rule), id: ev.ID, event: raw, arrived: now}
			s.deliveries.Go(func() { s.deliver(d, delay) })
		}
	}
	return ev.ID
}

// busName returns the name of a bus that may be given by ARN or not at all.
func busName(nameOrARN string) string {
	if nameOrARN == "" {
		return "default"
	}
	if strings.HasPrefix(nameOrARN, "arn:") {
		return nameOrARN[strings.LastIndexByte(nameOrARN, '/')+1:]
	}
	return nameOrARN
}
