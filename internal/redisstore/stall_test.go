package redisstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"presence"
	"presence/internal/config"
	"presence/internal/presencetest"
	"presence/internal/testenv"
)

// The conformance suite passes on a machine that stands still once, for longer
// than the timeout, whatever the store is about to do then.
func TestSuiteOnStallingMachine(t *testing.T) {
	t.Parallel()
	for _, call := range []int{1, 3, 5} {
		t.Run(fmt.Sprint("call-", call), func(t *testing.T) {
			t.Parallel()
			var stalled sync.Map // names of tests
			presencetest.Run(t, func(t *testing.T) presencetest.Backend {
				url, move := testenv.Embedded(t)
				var now time.Time
				advance := func(d time.Duration) {
					now = now.Add(d)
					move(d)
				}
				b := backend(t, config.Redis{RedisURL: url}, advance)
				b.Now = func() time.Time { return now }
				if _, again := stalled.LoadOrStore(t.Name(), true); !again {
					b.Store = &stallingStore{b.Store, call, func() { advance(timing.Timeout + away) }}
				}
				return b
			})
		})
	}
}

// stallingStore calls stall once, after a number of calls.
type stallingStore struct {
	presence.Store
	calls int
	stall func()
}

func (s *stallingStore) count() {
	if s.calls == 0 {
		s.stall()
	}
	s.calls--
}

func (s *stallingStore) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	s.count()
	return s.Store.Touch(ctx, b)
}

func (s *stallingStore) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	s.count()
	return s.Store.Leave(ctx, l)
}

func (s *stallingStore) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	s.count()
	return s.Store.Status(ctx, userIDs)
}

func (s *stallingStore) Sweep(ctx context.Context) (presence.Sweep, error) {
	s.count()
	return s.Store.Sweep(ctx)
}
