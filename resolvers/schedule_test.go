package resolvers_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"presence"
	"presence/internal/config"
	"presence/resolvers"
)

// backlog is a store in which something is always due. A pass takes a while.
type backlog struct {
	presence.Store
	pass func() error
}

func (b *backlog) Sweep(context.Context) (presence.Sweep, error) {
	err := b.pass()
	return presence.Sweep{Due: []presence.State{{Note: 1, Change: presence.Disconnected, Reason: presence.ReasonTimeout}}}, err
}

// Row C4 of the trials: a backlog that never ends kept a run of one pass going
// far beyond the function's time limit.
func TestC4SweepEndsBeforeItsLimit(t *testing.T) {
	t.Parallel()
	const took = 300 * time.Millisecond // a pass
	for name, test := range map[string]struct {
		sweepFor, limit time.Duration // no limit if zero
		cause           error         // of every pass
		least, most     time.Duration
	}{
		"one pass":                {0, config.FunctionTimeout, nil, 50 * time.Second, 75 * time.Second},
		"one pass, short limit":   {0, 20 * time.Second, nil, 14 * time.Second, 16 * time.Second},
		"one pass, no limit":      {0, 0, nil, 50 * time.Second, 75 * time.Second},
		"one pass, limit is over": {0, time.Second, nil, took, took},
		"one pass, Redis is down": {0, config.FunctionTimeout, errors.New("down"), took, took},
		"stays up":                {time.Minute, config.FunctionTimeout, nil, 59 * time.Second, 61 * time.Second},
		"stays up, short limit":   {time.Minute, 20 * time.Second, nil, 14 * time.Second, 16 * time.Second},
		"stays up, Redis is down": {time.Minute, 20 * time.Second, errors.New("down"), 13 * time.Second, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Unix(1_800_000_000, 0)
			now := start
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.limit > 0 {
				ctx = deadline{ctx, start.Add(test.limit)}
			}
			h := resolvers.New(resolvers.Options{
				Timing: timing, SweepFor: test.sweepFor, Publisher: &bus{}, Logger: slog.New(slog.DiscardHandler),
				Store: &backlog{pass: func() error {
					if now = now.Add(took); now.Sub(start) > time.Hour {
						cancel()
					}
					return test.cause
				}},
				Now: func() time.Time { return now },
				Sleep: func(_ context.Context, d time.Duration) error {
					now = now.Add(d)
					return nil
				},
			})
			if _, err := h.Invoke(ctx, []byte(`{"detail-type":"Scheduled Event"}`)); !errors.Is(err, test.cause) {
				t.Errorf("got %v, want %v", err, test.cause)
			}
			if up := now.Sub(start); up < test.least || up > test.most {
				t.Errorf("ran for %v, want between %v and %v", up, test.least, test.most)
			}
		})
	}
}

// deadline is a context with a deadline of the moved clock.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

// stuck is a Publisher that EventBridge does not answer.
type stuck struct{}

func (stuck) Publish(ctx context.Context, events []presence.Event) (int, error) {
	<-ctx.Done()
	return len(events), ctx.Err()
}

func TestC4PassEndsBeforeTheLimit(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	h := resolvers.New(resolvers.Options{
		Timing: timing, Publisher: stuck{}, Logger: slog.New(slog.DiscardHandler),
		Store: &backlog{pass: func() error { return nil }},
	})
	if _, err := h.Invoke(ctx, []byte(`{"detail-type":"Scheduled Event"}`)); err != nil {
		t.Error(err)
	}
	if ctx.Err() != nil {
		t.Error("ended by the limit, not before it")
	}
}
