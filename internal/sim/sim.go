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
	"math/rand/v2"
	"time"

	"presence"
	"presence/internal/model"
)

// Run runs one history. With keep, its events are in the result.
func Run(p Plan, keep bool) (Result, error) {
	return run(p, keep, (*world).populate)
}

// run runs the history that begin schedules.
func run(p Plan, keep bool, begin func(*world)) (Result, error) {
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
	begin(w)
	w.until(p.Active)
	w.rest()
	return w.result, nil
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
