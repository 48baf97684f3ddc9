// Command bench measures what presence costs: the handler, the Lambda binary,
// memory, sweeps, detection, fan-out, and how each grows.
//
// It starts the redis-servers it needs. Every figure that depends on the
// machine is held against a limit measured in the same run, where both are rates
// in turns with it, so ratios can be compared where times cannot.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"presence"
)

var errMissed = errors.New("not every target was reached")

type options struct {
	JSON  bool     `help:"Print a line of JSON a figure."`
	Quick bool     `help:"Smaller numbers and shorter rounds: under a minute, to see that everything runs."`
	Parts []string `arg:"" optional:"" help:"What to measure: ${parts}. Everything by default."`
}

// part is one thing to measure.
type part struct {
	name, about string
	measure     func(context.Context, *bench) error
}

var parts = []part{
	{"handler", "Handler, JSON in to JSON out, 10,000 users", measureHandler},
	{"lambda", "The Lambda binary under a Runtime API, one call at a time", measureLambda},
	{"memory", "Redis memory of a user online", measureMemory},
	{"sweep", "Sweeps", measureSweep},
	{"road", "From connect to a watcher of the local server", measureRoad},
	{"detection", "Timeouts, from the deadline to a subscriber of the local server", measureDetection},
	{"fanout", "Fan-out of the local server, from one connect to all subscribers", measureFanout},
	{"among", "One subscription of the local server among many others", measureAmong},
	{"growth", "Heartbeats as users grow in number", measureGrowth},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if errors.Is(err, errMissed) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	var opts options
	parser, err := kong.New(&opts, kong.Name("bench"),
		kong.Description("Measures what presence costs. Exits with 2 if a target is missed."),
		kong.Vars{"parts": strings.Join(names, ", ")})
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	for _, name := range opts.Parts {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no part %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	dir, err := os.MkdirTemp("", "presence-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{quick: opts.Quick, dir: dir, report: report{out: out, json: opts.JSON}}
	for _, p := range parts {
		if len(opts.Parts) > 0 && !slices.Contains(opts.Parts, p.name) {
			continue
		}
		b.begin(p.about)
		if err := p.measure(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.end()
	}
	if b.missed > 0 {
		return errMissed
	}
	return nil
}

// bench is one run.
type bench struct {
	report
	quick bool
	dir   string
}

// timing is the default contract, but for a timeout that filling in millions of
// users does not outlast.
var timing = presence.Timing{Heartbeat: 30 * time.Second, Timeout: time.Hour, Retention: 720 * time.Hour}

// pick returns the full number, or the one of a quick run.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}
