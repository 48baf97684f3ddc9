package sim_test

import (
	"strings"
	"testing"
	"time"

	"presence"
	"presence/internal/announce"
	"presence/internal/sim"
)

// script is the plan of the scripted histories: a sweep every 4 s, so that
// changes are to be known within 9 s of an undisturbed platform.
func script(users int) sim.Plan {
	return sim.Plan{
		Timing: presence.Timing{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second, Retention: 10 * time.Minute},
		Users:  users, Watchers: 2, Patient: true, Schedule: 4 * time.Second, Active: 90 * time.Second,
	}
}

// lossy has answers to the watchers' first queries lost for the first 20 s.
// Who comes does so at 3 s, over a network that works.
func lossy(comes bool) func(sim.Script) {
	return func(s sim.Script) {
		s.At(0, func() { s.LoseCalls(1) })
		if comes {
			s.At(3*time.Second, func() {
				s.LoseCalls(0)
				s.Connect(0)
				s.LoseCalls(1)
			})
		}
		s.At(20*time.Second, func() { s.LoseCalls(0) })
	}
}

// A script is a history that random ones seldom are: what the checker once took
// for a fault and is none, and beside each a fault just like it.
func TestScripts(t *testing.T) {
	t.Parallel()
	nobodyIsTold := []announce.Rule{}
	for name, test := range map[string]struct {
		plan   sim.Plan
		rules  []announce.Rule
		script func(sim.Script)
		want   string // the violation's beginning
	}{
		// Found in the history of seed 77004310: the grace ends just after a sweep, and
		// Redis is away when the next ones look.
		"grace-ends-in-a-failover": {
			plan: script(1),
			script: func(s sim.Script) {
				s.At(5*time.Second, func() { s.Connect(0) })
				s.At(35500*time.Millisecond, func() { s.Leave(0, 5*time.Second) })
				s.At(43*time.Second, func() { s.FailOver(10 * time.Second) })
			},
		},
		"grace-ends-and-nobody-is-told": {
			plan: script(1), rules: announce.Rules()[:1],
			script: func(s sim.Script) {
				s.At(5*time.Second, func() { s.Connect(0) })
				s.At(35500*time.Millisecond, func() { s.Leave(0, 5*time.Second) })
			},
			want: "(3)",
		},
		// Found in the history of seed 77007110: the network loses the answers to a
		// watcher's first queries, one after the other.
		"first-queries-lost": {plan: script(1), script: lossy(false)},
		"first-queries-lost-and-told": {
			plan: script(1), script: lossy(true),
		},
		"first-queries-lost-and-not-told": {
			plan: script(1), rules: nobodyIsTold, script: lossy(true), want: "(3)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.plan.Rules = test.rules
			result, err := sim.RunScript(test.plan, test.script)
			if err != nil {
				t.Fatal(err)
			}
			if result.Violation == "" && test.want != "" || test.want == "" && result.Violation != "" || !strings.HasPrefix(result.Violation, test.want) {
				t.Errorf("violation %q, want %q\n%s", result.Violation, test.want, strings.Join(result.History, "\n"))
			}
		})
	}
}
