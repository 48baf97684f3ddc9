package sim_test

import (
	"flag"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/sim"
)

var (
	seed      = flag.Uint64("seed", 0, "run only the history of this seed, and print it")
	histories = flag.Uint64("histories", 200, "how many histories to run")
	first     = flag.Uint64("first", 1, "the first one's seed")
)

// TestHistories runs histories. The one of a seed, to be read:
//
//	go test ./internal/sim -run Histories -v -seed 123
func TestHistories(t *testing.T) {
	t.Parallel()
	if *seed != 0 {
		result := run(t, *seed)
		t.Logf("\n%s", strings.Join(result.History, "\n"))
		if result.Violation != "" {
			t.Errorf("seed %d: %s", *seed, result.Violation)
		}
		return
	}
	var next, calls atomic.Uint64
	start := time.Now()
	t.Run("all", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1); n <= *histories; n = next.Add(1) {
					result := run(t, *first+n-1)
					calls.Add(uint64(result.Calls))
					if result.Violation != "" {
						report(t, *first+n-1, result)
					}
				}
			})
		}
	})
	t.Logf("%d histories, %d calls, %v", *histories, calls.Load(), time.Since(start).Round(time.Second))
}

func run(t *testing.T, seed uint64) sim.Result {
	t.Helper()
	result, err := sim.Run(sim.Draw(seed), true)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// report prints the end of a history that went wrong. It also runs its seed
// again: a violation that does not recur is a fault twice, since a seed has to
// say all about a history. Then nothing else can show it, so all of it is printed.
func report(t *testing.T, seed uint64, result sim.Result) {
	t.Helper()
	again := run(t, seed)
	if diff := cmp.Diff(result, again); diff != "" {
		t.Errorf("seed %d: %s\n%s\nThe second run of this seed was another history (-first +second):\n%s",
			seed, result.Violation, strings.Join(result.History, "\n"), diff)
		return
	}
	end := result.History[max(0, len(result.History)-60):]
	t.Errorf("seed %d: %s\n%s\n...\n%s\nall of it: go test ./internal/sim -run Histories -v -seed %d",
		seed, result.Violation, result.History[0], strings.Join(end, "\n"), seed)
}

// Nobody can beat for three timeouts, and nobody has gone.
func TestOutage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		result, err := sim.Run(sim.Plan{
			Seed: seed, Timing: presence.Timing{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second, Retention: time.Hour},
			Users: 10, Watchers: 1, Schedule: time.Minute, SweepFor: 50 * time.Second,
			Active: 10 * time.Minute, Steady: true, Outage: 105 * time.Second, Unchecked: true,
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		if result.Departures != 5 || result.FalseOffline != 0 || result.Lost != 0 || result.Stuck != 0 {
			t.Errorf("seed %d: of 5 who stayed %d were announced offline and %d are believed to be; of %d who went %d are believed to be there",
				seed, result.FalseOffline, result.Stuck, result.Departures, result.Lost)
		}
	}
}

// A seed says all there is to know about a history.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 10; seed++ {
		if diff := cmp.Diff(run(t, seed), run(t, seed)); diff != "" {
			t.Errorf("seed %d, run twice: %s", seed, diff)
		}
	}
}
