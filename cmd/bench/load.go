package main

import (
	"context"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// operation does something once. Callers, numbered from 0, each have their
// own; n counts a caller's calls.
type operation func(ctx context.Context, caller, n int) error

// result is what callers experienced.
type result struct {
	calls    int64
	Rate     float64 // calls/s of all callers together
	P50, P99 time.Duration
	// CPU is the CPU time a call took of all the processes looked at.
	CPU time.Duration
}

// load has callers do op one call after the other, for a while.
func load(ctx context.Context, callers int, while time.Duration, op operation) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	group, _ := errgroup.WithContext(ctx)
	histograms := make([]*hdrhistogram.Histogram, callers)
	start := time.Now()
	for c := range callers {
		h := newHistogram()
		histograms[c] = h
		group.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				before := time.Now()
				// A call under way when time is up is finished.
				if err := op(context.WithoutCancel(ctx), c, n); err != nil {
					return err
				}
				_ = h.RecordValue(time.Since(before).Nanoseconds())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return result{}, err
	}
	return summary(time.Since(start), histograms...), nil
}

// newHistogram returns one of nanoseconds, up to a minute.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
}

func summary(elapsed time.Duration, histograms ...*hdrhistogram.Histogram) result {
	all := newHistogram()
	for _, h := range histograms {
		all.Merge(h)
	}
	return result{
		calls: all.TotalCount(),
		Rate:  float64(all.TotalCount()) / elapsed.Seconds(),
		P50:   time.Duration(all.ValueAtPercentile(50)),
		P99:   time.Duration(all.ValueAtPercentile(99)),
	}
}

// race measures several operations in turns, so that what else the machine
// does meets all of them, and returns the median round of each.
func (w *world) race(ctx context.Context, b *bench, callers int, ops ...operation) ([]result, error) {
	rounds, while := pick(b, 7, 1), pick(b, time.Second, 200*time.Millisecond)
	all := make([][]result, len(ops))
	for round := range rounds {
		for i := range ops {
			// Each goes first in some rounds.
			i = (i + round) % len(ops)
			before, err := w.cpuTime()
			if err != nil {
				return nil, err
			}
			r, err := load(ctx, callers, while, ops[i])
			if err != nil {
				return nil, err
			}
			after, err := w.cpuTime()
			if err != nil {
				return nil, err
			}
			r.CPU = time.Duration(float64(after-before) / float64(r.calls))
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			all[i] = append(all[i], r)
		}
	}
	medians := make([]result, len(ops))
	for i, rounds := range all {
		medians[i] = result{
			Rate: median(rounds, func(r result) float64 { return r.Rate }),
			P50:  time.Duration(median(rounds, func(r result) float64 { return float64(r.P50) })),
			P99:  time.Duration(median(rounds, func(r result) float64 { return float64(r.P99) })),
			CPU:  time.Duration(median(rounds, func(r result) float64 { return float64(r.CPU) })),
		}
	}
	return medians, nil
}

func median[T any](all []T, of func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, v := range all {
		values[i] = of(v)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// each does something for the numbers from to to-1, as many at once as there
// are connections.
func each(ctx context.Context, from, to int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for c := range callers {
		group.Go(func() error {
			for n := from + c; n < to; n += callers {
				if err := do(ctx, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
