package resolvers

import (
	"context"
	"fmt"
	"time"

	"presence"
	"presence/internal/metrics"
)

const (
	// longestPause bounds how late a sweep notices a deadline that came up while
	// it slept: a disconnect in grace, or a note.
	longestPause = time.Second
	// shortestPause lets expiries gather while many users come and go.
	shortestPause = 100 * time.Millisecond
	// sweepMargin is what a run leaves of Lambda's time limit, for its last pass.
	sweepMargin = 5 * time.Second
	// returnMargin is what a pass leaves of it, however slow Redis and EventBridge
	// are. What was not published by then, the next run publishes.
	returnMargin = time.Second
	// longestBacklog is how long a run of one pass goes on while more is due, if
	// nothing else limits it. The next run begins then.
	longestBacklog = time.Minute
)

// sweep runs passes from deadline to deadline until the run's time is over.
// EventBridge schedules no more often than once a minute; this is how timeouts
// are still found within a second. Two sweeps at once do no harm. A run that is
// to make one pass makes another while more is due.
func (h *Handler) sweep(ctx context.Context) error {
	end, backlogEnd := h.sweepEnds(ctx)
	if limit, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, limit.Add(-returnMargin))
		defer cancel()
	}
	for {
		next, err := h.pass(ctx)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			h.Logger.ErrorContext(ctx, "sweep failed", "cause", err)
			next = longestPause
		}
		last := backlogEnd
		if next > 0 {
			next = min(max(next, shortestPause), longestPause)
			last = end
		}
		if h.Now().Add(next).After(last) {
			return err
		}
		if sleepErr := h.Sleep(ctx, next); sleepErr != nil {
			return err
		}
	}
}

// sweepEnds returns when a run's last pass may begin, and when it may begin if
// more is due already.
func (h *Handler) sweepEnds(ctx context.Context) (end, backlogEnd time.Time) {
	start := h.Now()
	end = start.Add(h.SweepFor)
	backlogEnd = end
	if h.SweepFor == 0 {
		backlogEnd = start.Add(longestBacklog)
	}
	if limit, ok := ctx.Deadline(); ok {
		limit = limit.Add(-sweepMargin)
		if limit.Before(end) {
			end = limit
		}
		if limit.Before(backlogEnd) {
			backlogEnd = limit
		}
	}
	return end, backlogEnd
}

// pass sweeps once and publishes what is due. It returns how long until
// something may be due again.
func (h *Handler) pass(ctx context.Context) (time.Duration, error) {
	start := h.Now()
	sweep, err := h.Store.Sweep(ctx)
	// Even a pass that failed half way has taken users offline and leased notes.
	if len(sweep.Due) > 0 {
		events := make([]presence.Event, len(sweep.Due))
		for i, state := range sweep.Due {
			events[i] = presence.EventOf(state)
		}
		h.publish(ctx, events)
		h.Metrics.Record(metrics.Due, float64(len(events)))
		h.Metrics.Record(metrics.OldestUnannounced, millis(sweep.OldestNote))
	}
	if sweep.Expired > 0 {
		h.Metrics.Record(metrics.Transitions, float64(sweep.Expired), string(presence.ReasonTimeout))
		h.Metrics.Record(metrics.SweepLag, millis(sweep.Lag))
	}
	if err != nil {
		return 0, fmt.Errorf("resolvers: sweep: %w", err)
	}
	h.Metrics.Record(metrics.OnlineUsers, float64(sweep.Online))
	h.Metrics.Record(metrics.Unannounced, float64(sweep.Unannounced))
	h.Metrics.Record(metrics.SweepDuration, millis(h.Now().Sub(start)))
	return sweep.Next, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
