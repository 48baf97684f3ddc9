package sim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

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

// invocation is one run of the Lambda function.
type invocation struct {
	name    string
	user    string // the user it is about, if only one
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
