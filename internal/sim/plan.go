package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"presence"
	"presence/internal/announce"
)

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

// String is the plan in a line.
func (p Plan) String() string {
	return fmt.Sprintf("seed %d: heartbeat %v, timeout %v; %d users, up to %d tabs, %d watchers; a sweep every %v for %v; two Redis: %v; faults: %v",
		p.Seed, p.Heartbeat, p.Timeout, p.Users, p.Tabs, p.Watchers, p.Schedule, p.SweepFor, p.TwoRedis, p.Faults)
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
