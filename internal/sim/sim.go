// Package sim runs the presence API through histories that are hard to come by:
// clients, Lambda instances, sweeps, Redis, EventBridge, AppSync's delivery and
// watchers in one process, on a clock of its own, with everything going wrong
// that can, and checks after every step that what people are told is true.
//
// The resolvers, the store and its scripts are the real ones, on an embedded
// Redis; simulated is what surrounds them. One thing happens at a time, and a
// seed decides which and when, so a history can be run again.
package sim

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"presence"
	"presence/internal/announce"
	"presence/internal/model"
)

// epoch is the Redis clock's time when a history begins.
var epoch = time.UnixMilli(1_800_000_000_000)

// Plan is everything a history is made from, beside the seed.
type Plan struct {
	Seed uint64
	presence.Timing
	// Users have up to Tabs tabs each, and are all watched by every watcher.
	Users, Tabs, Watchers int
	// Active is how long people come and go and things go wrong. After that the
	// history comes to rest, and everybody has to know the truth.
	Active time.Duration
	// A sweep is scheduled every Schedule and stays up for SweepFor.
	Schedule, SweepFor time.Duration
	// TwoRedis keeps pages in a Redis of their own.
	TwoRedis bool
	// Steady keeps every tab open on one page until the end, or, for half the
	// users, until it crashes half way. What the network loses then never arrives.
	Steady bool
	// Patient watchers never ask again. Otherwise every other one does, once a user
	// should have been heard of; where all is Steady, every one.
	Patient bool
	// Outage is for how long Redis is away in the middle, beside the faults.
	Outage time.Duration
	// NoRetry makes clients send a lost heartbeat not again, but the next one when
	// it is time.
	NoRetry bool
	Faults
	// Rules are those on the bus: [announce.Rules] if nil.
	Rules []announce.Rule
	// Subject is what is tried: [Ours] if nil.
	Subject Subject
	// Naive clients and watchers are the AppSync presence sample's: heartbeats go
	// as queries, watchers query and then subscribe, and believe whatever comes
	// last.
	Naive Naive
	// Unchecked only measures.
	Unchecked bool
}

// Naive is what clients and watchers may do wrong.
type Naive struct {
	HeartbeatQuery, QueryFirst, LastWins bool
	// ToldByCaller has subscribers told by the answers to connect, too.
	ToldByCaller bool
}

// Faults are the ways in which a history goes wrong. Probabilities are those of
// one step, call or message; counts are of times within a history.
type Faults struct {
	Kill       float64 // a Lambda instance dies, before or after a call it makes
	RedisCut   float64 // a connection to Redis breaks, before or after the command
	Slow       float64 // a step takes up to seconds
	Throttle   float64 // PutEvents fails as a whole
	EntryFail  float64 // PutEvents fails for an entry
	PutLost    float64 // PutEvents takes the events and its answer is lost
	EventLost  float64
	EventTwice float64
	EventLate  float64 // an event arrives up to minutes late
	APIError   float64 // AppSync answers an error, before or after the call
	NetLost    float64 // a client's request or its answer is lost
	PushLost   float64 // AppSync drops a message to a watcher
	NoSweep    float64 // a scheduled sweep does not run
	TwoSweeps  float64 // a scheduled sweep runs twice at once

	RedisDown  int  // Redis is away for up to a minute
	RuleOff    int  // EventBridge's rules are off for up to a minute
	Restart    int  // Redis restarts empty
	Failover   int  // Redis fails over to a replica that has not the last second
	ClockBack  int  // Redis' clock steps back by up to minutes
	Offline    int  // a watcher loses its socket for up to a minute
	WrongClock bool // clients' clocks run fast or slow
	Sleep      bool // computers sleep and wake
}

// String lists the faults that are on.
func (f Faults) String() string {
	type plain Faults
	text := fmt.Sprintf("%+v", plain(f))
	return strings.Join(slices.DeleteFunc(strings.Fields(strings.Trim(text, "{}")), func(s string) bool {
		return strings.HasSuffix(s, ":0") || strings.HasSuffix(s, ":false")
	}), " ")
}

// Draw makes a plan from a seed: some faults are on, most are off, so that each
// is also seen alone and with few others.
func Draw(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	timings := []presence.Timing{
		{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second},
		{Heartbeat: 10 * time.Second, Timeout: 25 * time.Second},
		{Heartbeat: 4 * time.Second, Timeout: 10 * time.Second},
	}
	p := Plan{
		Seed: seed, Timing: timings[r.IntN(len(timings))],
		Users: 1 + r.IntN(3), Tabs: 1 + r.IntN(3), Watchers: 1 + r.IntN(2),
		Schedule: 4 * time.Second,
		TwoRedis: r.IntN(4) == 0,
	}
	p.Retention = 10 * time.Minute
	p.Active = 4 * p.Timeout
	// A sweep that stays up, as it does by default, or now and then one that
	// hardly comes; most of the time one a run, which is cheaper to simulate.
	switch r.IntN(8) {
	case 0, 1:
		p.Schedule, p.SweepFor = 15*time.Second, 12*time.Second
	case 2:
		p.Schedule = 3 * p.Timeout / 4
	case 3:
		p.Schedule = time.Minute
	}
	some := func(p float64) float64 {
		if r.IntN(4) > 0 {
			return 0
		}
		return p * r.Float64()
	}
	once := func() int {
		return max(0, r.IntN(6)-4)
	}
	if r.IntN(8) > 0 {
		p.Faults = Faults{
			Kill: some(0.2), RedisCut: some(0.02), Slow: some(0.2),
			Throttle: some(0.6), EntryFail: some(0.6), PutLost: some(0.4),
			EventLost: some(0.6), EventTwice: some(0.5), EventLate: some(0.6),
			APIError: some(0.4), NetLost: some(0.4), PushLost: some(0.4),
			NoSweep: some(0.6), TwoSweeps: some(1),
			RedisDown: once(), RuleOff: once(), Offline: once(),
			WrongClock: r.IntN(3) == 0, Sleep: r.IntN(3) == 0,
		}
		// Redis forgets what it last gave out as asOf only in ways that a clock which
		// never steps back makes good. Both at once, nothing can.
		switch r.IntN(8) {
		case 0:
			p.Restart = 1
		case 1:
			p.Failover = 1 + r.IntN(2)
		case 2:
			p.ClockBack = 1
		}
	}
	return p
}

// String is the plan in a line.
func (p Plan) String() string {
	return fmt.Sprintf("seed %d: heartbeat %v, timeout %v; %d users, up to %d tabs, %d watchers; a sweep every %v for %v; two Redis: %v; faults: %v",
		p.Seed, p.Heartbeat, p.Timeout, p.Users, p.Tabs, p.Watchers, p.Schedule, p.SweepFor, p.TwoRedis, p.Faults)
}

// Result is what came of a history.
type Result struct {
	// Violation says which invariant did not hold, and how; empty if all did.
	Violation string
	// History are the events, if they were to be kept.
	History []string
	// Injected counts faults by kind, Calls what was asked of the handler.
	Injected map[string]int
	Calls    int
	// Rest is what was measured.
	Stats
}

// Stats are measured in a history.
type Stats struct {
	// Online is how long users were there, FalseOffline how often one was announced
	// to have timed out with a tab open and awake.
	Online       time.Duration
	FalseOffline int
	// Detection is how long after each crash of a user's last tab a watcher knew.
	Detection []time.Duration
	// Departures is how many users went away for good, Lost how many of those a
	// watcher never heard of. Stuck is how many others it ends up believing to be
	// offline.
	Departures, Lost, Stuck int
}

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

// event is something to happen.
type event struct {
	at  time.Duration
	tie uint32
	seq int
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].tie, q[j].tie), cmp.Compare(q[i].seq, q[j].seq)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// after makes something happen in a while. What happens at the same time
// happens in an order of the seed's.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + d, w.rand.Uint32(), w.seq, do})
}

// between returns a duration from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rand.Int64N(int64(b-a)+1))
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

// Run runs one history. With keep, its events are in the result.
func Run(p Plan, keep bool) (Result, error) {
	w := &world{
		Plan: p, keep: keep, rand: rand.New(rand.NewPCG(p.Seed, 2)),
		messages: make(chan message),
		check:    newChecker(),
		cached:   map[string]time.Duration{},
		result:   Result{Injected: map[string]int{}},
	}
	w.truth = &model.Store{Timing: p.Timing, Now: func() presence.Time { return presence.TimeOf(epoch.Add(w.at)) }}
	w.log("plan", "%v", p)
	if err := w.start(); err != nil {
		return Result{}, err
	}
	defer w.stop()
	w.populate()
	w.until(p.Active)
	w.rest()
	return w.result, nil
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

// until lets things happen until a time or a violation.
func (w *world) until(end time.Duration) {
	for w.result.Violation == "" && len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.advance(e.at)
		e.do()
	}
	if w.result.Violation == "" {
		w.advance(end)
	}
}

func (w *world) advance(to time.Duration) {
	if d := to - w.now; d > 0 {
		w.now = to
		w.redis.advance(d)
		if w.pages != nil {
			w.pages.advance(d)
		}
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
		w.after(time.Second, w.tick)
	}
	if w.Steady {
		w.after(time.Second, w.measure)
	}
}

// schedule is EventBridge's schedule of the sweep.
func (w *world) schedule() {
	w.after(w.Schedule, w.schedule)
	n := 1
	if w.fault("sweep missed", w.NoSweep) {
		n = 0
		w.hindered(w.Schedule)
	} else if w.fault("two sweeps at once", w.TwoSweeps) {
		n = 2
	}
	for range n {
		w.after(w.between(0, 300*time.Millisecond), func() {
			w.invoke(&invocation{name: "sweep"}, []byte(`{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}`))
		})
	}
}

// hindered notes that announcements may be late until d from now.
func (w *world) hindered(d time.Duration) { w.disturbed = max(w.disturbed, w.now+d) }

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

// Invoker is a Lambda function, or an instance of one.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
	Close() error
}
