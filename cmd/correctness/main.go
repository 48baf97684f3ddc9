// Command correctness measures, in simulated histories, what is lost and who is
// falsely shown offline, and writes docs/correctness.md.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"golang.org/x/sync/errgroup"

	"presence"
	"presence/internal/sim"
)

func main() {
	histories := flag.Uint64("histories", 3000, "how many random histories to check; their seeds count from 1")
	hours := flag.Float64("hours", 1, "the length of each measured run, as a multiple of the published one's")
	row := flag.String("row", "", "measure only the row of this name, and print it")
	out := flag.String("o", "docs/correctness.md", "where to write to")
	flag.Parse()
	logging.Disable() // connections are cut on purpose
	if err := run(*histories, *hours, *row, *out); err != nil {
		fmt.Fprintln(os.Stderr, "correctness:", err)
		os.Exit(1)
	}
}

func run(histories uint64, hours float64, only, out string) error {
	rows := slices.DeleteFunc(rows(hours), func(r *row) bool { return only != "" && r.name != only })
	group := new(errgroup.Group)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, r := range rows {
		group.Go(func() (err error) {
			r.result, err = sim.Run(r.plan, false)
			return err
		})
	}
	command := "go run ./cmd/correctness"
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "histories" || f.Name == "hours" {
			command += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	var checked tally
	if only == "" {
		checked = check(group, histories)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if only != "" {
		if len(rows) == 0 {
			return errors.New("there is no row of this name")
		}
		fmt.Println(rows[0].measured())
		return nil
	}
	var page bytes.Buffer
	write(&page, command, &checked, rows)
	return os.WriteFile(out, page.Bytes(), 0o644) //nolint:gosec // a page to be read and committed
}

// tally is what became of random histories.
type tally struct {
	results  []sim.Result
	violated []uint64 // seeds
}

// check runs random histories.
func check(group *errgroup.Group, histories uint64) tally {
	t := tally{results: make([]sim.Result, histories)}
	for n := range histories {
		group.Go(func() (err error) {
			t.results[n], err = sim.Run(sim.Draw(n+1), false)
			return err
		})
	}
	_ = group.Wait() // run looks at the error
	for n, result := range t.results {
		if result.Violation != "" {
			t.violated = append(t.violated, uint64(n)+1)
		}
	}
	return t
}

// row is a measured run.
type row struct {
	name   string
	plan   sim.Plan
	result sim.Result
}

// users is how many a run has: as many as one query asks for.
const users = 100

var presets = []struct {
	name string
	presence.Timing
	hours float64
}{
	{"fast 10/35", presence.Timing{Heartbeat: 10 * time.Second, Timeout: 35 * time.Second}, 1},
	{"normal 30/75", presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second}, 3},
	{"eco 60/210", presence.Timing{Heartbeat: 60 * time.Second, Timeout: 210 * time.Second}, 6},
}

var sample = presence.Timing{Heartbeat: 10 * time.Second, Timeout: 10 * time.Second}

func ours(timing presence.Timing) sim.Plan {
	timing.Retention = 24 * time.Hour
	return sim.Plan{Timing: timing, Users: users, Watchers: 1, Schedule: time.Minute, SweepFor: time.Minute, Steady: true, Patient: true, Unchecked: true}
}

func theSample() sim.Plan {
	plan := ours(sample)
	plan.SweepFor, plan.Subject = 0, sim.Sample
	plan.Naive = sim.Naive{QueryFirst: true, LastWins: true, ToldByCaller: true}
	return plan
}

// rows are what is measured, in the order in which it is written.
func rows(hours float64) (all []*row) {
	add := func(name string, plan sim.Plan, length float64) {
		plan.Seed = uint64(len(all)) + 1
		plan.Active = max(time.Duration(length*hours*float64(time.Hour)), 3*plan.Outage)
		all = append(all, &row{name: name, plan: plan})
	}
	for _, loss := range []float64{0, 0.01, 0.05} {
		named := fmt.Sprintf(", %g %% lost", loss*100)
		for _, preset := range presets {
			plan := ours(preset.Timing)
			plan.NetLost = loss
			add(preset.name+named, plan, preset.hours)
			if loss > 0 {
				plan.NoRetry = true
				add(preset.name+named+", not sent again", plan, preset.hours)
			}
		}
		plan := theSample()
		plan.NetLost, plan.NoRetry = loss, true
		add("sample 10/10"+named, plan, 1)
	}
	for _, trouble := range []struct {
		name string
		asks bool
		sim.Faults
	}{
		{"a tenth of PutEvents entries fails", false, sim.Faults{EntryFail: 0.1}},
		{"half of PutEvents calls throttled", false, sim.Faults{Throttle: 0.5}},
		{"a tenth of events lost", false, sim.Faults{EventLost: 0.1}},
		// These lose what has been acknowledged.
		{"Lambda killed at every twentieth step", true, sim.Faults{Kill: 0.05}},
		{"a fifth of AppSync calls fails", true, sim.Faults{APIError: 0.2}},
	} {
		plan := ours(presets[0].Timing)
		plan.Faults, plan.Patient = trouble.Faults, !trouble.asks
		name := "fast 10/35, " + trouble.name
		if trouble.asks {
			name += "; the watcher asks again"
		}
		add(name, plan, 0.2)
		plan = theSample()
		plan.Faults = trouble.Faults
		add("sample 10/10, "+trouble.name, plan, 0.2)
	}
	for _, preset := range presets {
		plan := ours(preset.Timing)
		plan.Outage = 3 * preset.Timeout
		add(preset.name+", Redis away for three timeouts", plan, 0.5)
	}
	plan := theSample()
	plan.Outage = 105 * time.Second
	add("sample 10/10, Redis away for 105 s", plan, 0.5)
	return all
}

// measured is a row of the table.
func (r *row) measured() string {
	result := r.result
	online := result.Online.Hours()
	late := slices.Sorted(slices.Values(result.Detection))
	at := func(p float64) string {
		if len(late) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", late[min(len(late)-1, int(p*float64(len(late))))].Seconds())
	}
	return fmt.Sprintf("| %s | %d | %.0f | %d | %.4f | %s | %s | %s | %d of %d | %d of %d |",
		r.name, r.plan.Seed, online, result.FalseOffline, float64(result.FalseOffline)/online, at(0.5), at(0.95), at(1), result.Lost, result.Departures, result.Stuck, users-result.Departures)
}

// write writes the page.
func write(w *bytes.Buffer, command string, checked *tally, rows []*row) {
	injected, calls := map[string]int{}, 0
	for _, result := range checked.results {
		calls += result.Calls
		for kind, n := range result.Injected {
			injected[kind] += n
		}
	}
	fmt.Fprintf(w, pageTop, command, len(checked.results), calls, len(checked.violated))
	for _, kind := range slices.Sorted(maps.Keys(injected)) {
		fmt.Fprintf(w, "| %s | %d |\n", kind, injected[kind])
	}
	if len(checked.violated) > 0 {
		fmt.Fprintf(w, "\nSeeds in which an invariant did not hold: %v.\n", checked.violated)
	}
	fmt.Fprintf(w, pageMiddle, users, command)
	for _, r := range rows {
		fmt.Fprintln(w, r.measured())
	}
	fmt.Fprint(w, pageEnd)
}
