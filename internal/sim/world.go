package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"presence/internal/model"
)

// world is a history in the making.
type world struct {
	Plan
	rand *rand.Rand
	now  time.Duration
	// turns counts the turns invocations were given, and that Redis' connections
	// have had. They, and who goes on after them, load it before they
	// touch the world: a turn may reach them as a connection that is closed, which
	// orders what they do but not for the race detector.
	turns atomic.Int64
	queue queue
	seq   int

	redis, pages *server
	lambda       Invoker
	active       *invocation
	messages     chan message
	running      []*invocation

	users     []*user
	watchers  []*watcher
	truth     *model.Store
	at        time.Duration // what the model takes for now
	stepped   time.Duration // until when sessions may last longer, the clock having stepped back
	check     checker
	disturbed time.Duration // when a change was last kept from being announced
	quiet     bool          // faults are over
	ruleOff   time.Duration // until when
	redisDown time.Duration
	cached    map[string]time.Duration // queries, if clients send heartbeats as such

	keep   bool
	result Result
}

// start starts Redis and the Lambda function.
func (w *world) start() (err error) {
	if w.redis, err = newServer(w, true); err != nil {
		return err
	}
	env := Env{Timing: w.Timing, RedisURL: w.redis.url(), SweepFor: w.SweepFor, Publisher: (*bus)(w), Now: w.lambdaNow, Sleep: w.lambdaSleep, Applying: w.applying}
	if w.TwoRedis {
		if w.pages, err = newServer(w, false); err != nil {
			return err
		}
		env.StatusRedisURL = w.pages.url()
	}
	subject := w.Subject
	if subject == nil {
		subject = Ours(nil)
	}
	first, err := subject(env)
	w.lambda = &fleet{subject: subject, env: env, idle: []Invoker{first}}
	return err
}

// stop ends whatever still runs.
func (w *world) stop() {
	for len(w.running) > 0 {
		w.kill(w.running[0])
	}
	_ = w.lambda.Close()
	w.redis.Close()
	if w.pages != nil {
		w.pages.Close()
	}
}

// populate schedules what happens in the active part.
func (w *world) populate() {
	w.after(w.between(0, w.Schedule), w.schedule)
	for i := range w.Watchers {
		w.watchers = append(w.watchers, newWatcher(w, i))
	}
	for i := range w.Users {
		u := &user{w: w, id: fmt.Sprintf("user%d", i)}
		w.users = append(w.users, u)
		tabs := 1
		if !w.Steady {
			tabs = 1 + w.rand.IntN(w.Tabs)
		}
		for range tabs {
			w.after(w.between(0, min(w.Active/2, w.Timeout)), u.newTab)
		}
	}
	times := func(n int, do func()) {
		for range n {
			w.after(w.between(w.Active/8, w.Active), do)
		}
	}
	if w.Outage > 0 {
		w.after((w.Active-w.Outage)/2, func() {
			w.injected("outage")
			w.redisDown = w.now + w.Outage
			w.disturbed = w.redisDown
		})
	}
	times(w.RedisDown, func() {
		w.injected("Redis away")
		w.redisDown = w.now + w.between(0, time.Minute)
		w.disturbed = max(w.disturbed, w.redisDown)
	})
	times(w.RuleOff, func() {
		w.injected("rule off")
		w.ruleOff = w.now + w.between(0, time.Minute)
		w.disturbed = max(w.disturbed, w.ruleOff)
	})
	times(w.Restart, w.restartRedis)
	times(w.Failover, func() { w.failOver(w.between(0, time.Second)) })
	times(w.ClockBack, w.stepBack)
	times(w.Offline, func() { w.watchers[w.rand.IntN(len(w.watchers))].loseSocket() })
	if !w.Unchecked {
		w.startChecks()
	}
	if w.Steady {
		w.after(time.Second, w.measure)
	}
}

// rest brings the history to rest, checking the truth on the way.
func (w *world) rest() {
	w.quiet = true
	w.log("--", "faults are over")
	w.redisDown, w.ruleOff = 0, 0
	for _, u := range w.users {
		u.settle()
	}
	for _, watcher := range w.watchers {
		watcher.settle()
	}
	if w.Steady {
		w.until(w.now + w.slowest())
		w.checkLost()
		return
	}
	w.settled("(1) the last word without asking")
	for _, watcher := range w.watchers {
		watcher.query()
	}
	w.until(w.now + 5*time.Second)
	w.checkWatchers("(1) the last word after asking", true)

	// Everybody goes, without a word, and is forgotten.
	w.log("--", "everybody goes")
	for _, u := range w.users {
		for len(u.tabs) > 0 {
			u.tabs[0].crash()
		}
	}
	w.settled("(3) departures")
	// Sweeps every second would be most of the work of a history.
	w.queue = nil
	for _, inv := range slices.Clone(w.running) {
		w.kill(inv)
	}
	for range 3 {
		w.advance(max(w.now, w.stepped) + w.Retention/2)
		w.after(0, w.schedule)
		w.until(w.now + 2*time.Second)
	}
	w.checkForgotten()
}

// settled waits until everybody knows the truth, and no longer than that may
// take. Some histories wait that long in any case: what comes late must not
// change what is known.
func (w *world) settled(invariant string) {
	latest := w.now + w.slowest()
	w.until(w.now + w.Timeout + w.bound())
	for w.result.Violation == "" && w.now < latest && (w.Seed%4 == 0 || w.firstDoubt(false) != "" || w.undrained() != "") {
		w.until(w.now + 2*time.Second)
	}
	w.checkWatchers(invariant, false)
	if key := w.undrained(); key != "" {
		w.violate("(5) the outbox drains", "there is still %s", key)
	}
}

// bound is how long a change may take to be announced to watchers when nothing
// hinders it: until the next sweep looks, twice where runs are so far between
// that a sweep may take itself to have been away.
func (w *world) bound() time.Duration {
	bound := w.Schedule - w.SweepFor + 5*time.Second
	if w.Schedule-w.SweepFor > w.Timeout-w.Heartbeat {
		bound += w.Schedule + w.Timeout
	}
	return bound
}

// slowest is how long a change may take once nothing hinders it any more. A
// note is tried again when it is twice as old, or after a minute, and a sweep
// that was away gives one timeout.
func (w *world) slowest() time.Duration {
	return 2*w.Timeout + time.Minute + 2*w.bound()
}

// fault decides whether a fault happens now, and counts it.
func (w *world) fault(kind string, p float64) bool {
	if w.quiet || p == 0 || w.rand.Float64() >= p {
		return false
	}
	w.injected(kind)
	return true
}

func (w *world) injected(kind string) {
	w.result.Injected[kind]++
	w.log("!!", "%s", kind)
}

// hindered notes that announcements may be late until d from now.
func (w *world) hindered(d time.Duration) { w.disturbed = max(w.disturbed, w.now+d) }

// log keeps a line of the history.
func (w *world) log(who, format string, args ...any) {
	if w.keep {
		w.result.History = append(w.result.History, fmt.Sprintf("%9.3fs  %-10s %s", w.now.Seconds(), who, fmt.Sprintf(format, args...)))
	}
}

// violate ends the history.
func (w *world) violate(invariant, format string, args ...any) {
	if w.result.Violation == "" && !w.Unchecked {
		w.result.Violation = invariant + ": " + fmt.Sprintf(format, args...)
		w.log("VIOLATION", "%s", w.result.Violation)
	}
}
