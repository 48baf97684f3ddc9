package sim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"presence"
	"presence/internal/announce"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/resolvers"
)

// Env is what a Lambda function finds.
type Env struct {
	presence.Timing
	RedisURL, StatusRedisURL string
	SweepFor                 time.Duration
	Publisher                presence.Publisher
	Now                      func() time.Time
	Sleep                    func(context.Context, time.Duration) error
	// Applying is told which operation the next commands to Redis do.
	Applying func(Operation)
}

// Operation is what one does to the store, for the simulator to know the truth.
// The zero Operation changes nothing.
type Operation struct {
	Leave             bool
	UserID, SessionID string
	Page              presence.Page
	Reason            presence.Reason
	GraceMs           int64
}

// Subject makes an instance of the Lambda function that is tried.
type Subject func(Env) (Invoker, error)

// fleet is a Lambda function: as many instances as it has calls at once, for
// each answers one at a time.
type fleet struct {
	subject Subject
	env     Env
	mu      sync.Mutex
	idle    []Invoker
}

// Invoke implements [Invoker].
func (f *fleet) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	instance, err := f.take()
	if err != nil {
		return nil, err
	}
	defer f.put(instance)
	return instance.Invoke(ctx, payload)
}

func (f *fleet) take() (Invoker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.idle) - 1
	if n < 0 {
		return f.subject(f.env)
	}
	instance := f.idle[n]
	f.idle = f.idle[:n]
	return instance, nil
}

func (f *fleet) put(instance Invoker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, instance)
}

// Close implements [Invoker]. All instances are idle by then.
func (f *fleet) Close() (err error) {
	for _, instance := range f.idle {
		err = errors.Join(err, instance.Close())
	}
	return err
}

// Ours is this API's handler. wrap, if not nil, may spoil its store.
func Ours(wrap func(presence.Store) presence.Store) Subject {
	return func(env Env) (Invoker, error) {
		store, err := redisstore.New(redisstore.Options{
			Timing: env.Timing,
			Redis:  config.Redis{RedisURL: env.RedisURL, StatusRedisURL: env.StatusRedisURL},
			// More would be swept at once, in an order that is not the seed's.
			Shards: 1,
		})
		if err != nil {
			return nil, err
		}
		var told presence.Store = &telling{store, env.Applying}
		if wrap != nil {
			told = wrap(told)
		}
		return &ours{resolvers.New(resolvers.Options{
			Timing: env.Timing, Store: told, Publisher: env.Publisher, SweepFor: env.SweepFor,
			Now: env.Now, Sleep: env.Sleep, Logger: slog.New(slog.DiscardHandler),
		}), store}, nil
	}
}

type ours struct {
	*resolvers.Handler
	io.Closer
}

// telling is a store that says what it is about to do.
type telling struct {
	presence.Store
	applying func(Operation)
}

func (s *telling) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	s.applying(Operation{UserID: b.UserID, SessionID: b.SessionID, Page: b.Page, Reason: b.Reason})
	return s.Store.Touch(ctx, b)
}

func (s *telling) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	s.applying(Operation{Leave: true, UserID: l.UserID, SessionID: l.SessionID, GraceMs: l.GraceMs})
	return s.Store.Leave(ctx, l)
}

func (s *telling) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	s.applying(Operation{})
	return s.Store.Status(ctx, userIDs)
}

func (s *telling) Acknowledge(ctx context.Context, userID string, note presence.Time) error {
	s.applying(Operation{Reason: acknowledging})
	return s.Store.Acknowledge(ctx, userID, note)
}

func (s *telling) Sweep(ctx context.Context) (presence.Sweep, error) {
	s.applying(Operation{})
	return s.Store.Sweep(ctx)
}

// acknowledging marks an operation that says nothing about anybody.
const acknowledging presence.Reason = "acknowledge"

// invocation is one run of the Lambda function.
type invocation struct {
	name    string
	user    string // whom it is about, if only one
	dead    bool
	acked   bool // has taken a note out
	op      Operation
	verdict chan verdict
	known   map[string]fact // users' state when Redis was last asked
	tab     *tab            // the caller, if any
	order   int             // of that asking among all
	done    func(reply []byte, err error)
}

// step is where an invocation waits for its turn.
type step struct {
	what    string
	verdict chan verdict
	pause   time.Duration // how long a sleep is to last
	reply   []byte
	err     error
}

type message struct {
	inv *invocation
	step
}

// verdict is what becomes of a step.
type verdict int

const (
	proceed verdict = iota
	fail
	cutBefore
	cutAfter
)

const stepDone = "done"

var errDead = errors.New("this Lambda instance is dead")

// invoke starts an invocation. It then takes step after step, until it is done.
func (w *world) invoke(inv *invocation, payload []byte) {
	w.result.Calls++
	w.running = append(w.running, inv)
	w.active = inv
	go func() {
		reply, err := w.lambda.Invoke(context.Background(), payload)
		w.messages <- message{inv, step{what: stepDone, reply: reply, err: err}}
	}()
	w.next(inv)
}

// next waits for an invocation's next step and schedules it.
func (w *world) next(inv *invocation) {
	m := <-w.messages
	w.turns.Load() // Redis' connections have had theirs
	w.active = nil
	inv.verdict = m.verdict
	if !inv.dead && w.fault("Lambda killed", w.Kill) {
		w.log(inv.name, "killed before: %s", m.what)
		inv.dead = true
		w.hindered(0)
		if inv.acked {
			w.taintAll(inv.user)
		}
	}
	switch {
	case m.what == stepDone:
		w.running = slices.DeleteFunc(w.running, func(other *invocation) bool { return other == inv })
		if inv.dead {
			m.reply, m.err = nil, errDead
		}
		if inv.done != nil {
			inv.done(m.reply, m.err)
		}
	case inv.dead:
		w.resume(inv, fail)
	case m.what == "sleep":
		w.after(m.pause, func() { w.resume(inv, proceed) })
	default:
		took := w.between(100*time.Microsecond, 2*time.Millisecond)
		if w.fault("slow call", w.Slow) {
			took = w.between(0, 4*time.Second)
			w.hindered(took)
		}
		w.after(took, func() { w.resume(inv, w.judge(inv, m.what)) })
	}
}

// resume lets an invocation go on to its next step. One that was killed
// meanwhile is gone.
func (w *world) resume(inv *invocation, v verdict) {
	if !slices.Contains(w.running, inv) {
		return
	}
	w.active = inv
	w.turns.Add(1)
	inv.verdict <- v
	w.next(inv)
}

// kill ends an invocation wherever it waits.
func (w *world) kill(inv *invocation) {
	inv.dead, inv.done = true, nil
	w.resume(inv, fail)
}

// judge decides what becomes of a call to Redis or EventBridge.
func (w *world) judge(inv *invocation, what string) verdict {
	if what == "PutEvents" {
		return proceed
	}
	if w.now < w.redisDown {
		return fail
	}
	if w.fault("Redis connection cut", w.RedisCut) {
		w.hindered(0)
		if w.rand.IntN(2) == 0 {
			return cutBefore
		}
		return cutAfter
	}
	return proceed
}

func (w *world) applying(op Operation) {
	w.turns.Load()
	w.active.op = op
}

func (w *world) lambdaNow() time.Time {
	w.turns.Load()
	return epoch.Add(w.now)
}

func (w *world) lambdaSleep(_ context.Context, d time.Duration) error {
	return w.wait(step{what: "sleep", pause: d})
}

// wait is called by an invocation's goroutine where it waits for its turn.
func (w *world) wait(s step) error {
	w.turns.Load()
	s.verdict = make(chan verdict)
	w.messages <- message{w.active, s}
	if <-s.verdict != proceed {
		return errDead
	}
	return nil
}

// bus is the EventBridge that invocations publish to.
type bus world

func (b *bus) Publish(_ context.Context, events []presence.Event) (failed int, err error) {
	w := (*world)(b)
	w.turns.Load()
	inv := w.active
	if err := w.wait(step{what: "PutEvents"}); err != nil {
		return len(events), err
	}
	if w.fault("PutEvents throttled", w.Throttle) {
		w.hindered(0)
		return len(events), errors.New("ThrottlingException")
	}
	for _, e := range events {
		w.checkEvent(inv, e)
		if w.fault("PutEvents entry failed", w.EntryFail) {
			w.hindered(0)
			failed++
			continue
		}
		w.log("bus", "%s %s as of %s", e.Change.DetailType(), e.UserID, clock(e.AsOf))
		w.deliver(e)
	}
	if failed == 0 && w.fault("PutEvents answer lost", w.PutLost) {
		return len(events), errors.New("connection reset")
	}
	if failed > 0 {
		err = errors.New("InternalFailure")
	}
	return failed, err
}

// deliver runs EventBridge's rules on an event and calls their target.
func (w *world) deliver(e presence.Event) {
	w.published(e)
	if w.now < w.ruleOff {
		w.log("bus", "the rule is off")
		return
	}
	if w.fault("event lost", w.EventLost) {
		w.hindered(0)
		return
	}
	n := 1
	if w.fault("event doubled", w.EventTwice) {
		n = 2
	}
	for range n {
		took := w.between(5*time.Millisecond, 300*time.Millisecond)
		if w.fault("event late", w.EventLate) {
			took = w.between(0, 3*time.Minute)
			w.hindered(0)
		}
		w.after(took, func() { w.announce(e) })
	}
}

// rules are the rules on the bus.
func (w *world) rules() []announce.Rule {
	if w.Rules != nil {
		return w.Rules
	}
	return announce.Rules()
}

// announce is the rule's target: the mutation that makes AppSync tell
// subscribers.
func (w *world) announce(e presence.Event) {
	for _, r := range w.rules() {
		if slices.Contains(r.Changes, e.Change) {
			arguments, _ := json.Marshal(map[string]string{"userId": e.UserID})
			w.appsync(call{caller: "", field: r.Field, arguments: arguments, user: e.UserID}, func([]byte, error) {})
		}
	}
}
