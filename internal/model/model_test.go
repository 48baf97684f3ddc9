package model_test

import (
	"sync/atomic"
	"testing"
	"time"

	"presence"
	"presence/internal/model"
	"presence/internal/presencetest"
)

// The model does itself what it is the model of.
func TestModel(t *testing.T) {
	t.Parallel()
	timing := presence.Timing{Heartbeat: 10 * time.Second, Timeout: 25 * time.Second, Retention: time.Minute}
	const lease = 5 * time.Second
	presencetest.Run(t, func(*testing.T) presencetest.Backend {
		var now atomic.Int64
		now.Store(1_800_000_000_000)
		return presencetest.Backend{
			Store: &model.Store{
				Timing: timing, Lease: lease, Away: timing.Timeout - timing.Heartbeat,
				Now: func() presence.Time { return presence.Time(now.Load()) },
			},
			Timing: timing, Lease: lease,
			Advance: func(d time.Duration) { now.Add(d.Milliseconds()) },
		}
	})
}
