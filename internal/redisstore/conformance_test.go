package redisstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"presence"
	"presence/internal/config"
	"presence/internal/presencetest"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// timing is short for real Redis, whose clock cannot be moved: there every step
// of a test takes its time.
var timing = presence.Timing{Heartbeat: 800 * time.Millisecond, Timeout: 2 * time.Second, Retention: 5 * time.Second}

const (
	lease = time.Second
	away  = 3 * time.Second
)

// stores counts the stores, so that each has a prefix of its own.
var stores atomic.Int64

func TestEmbedded(t *testing.T) {
	t.Parallel()
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		url, advance := testenv.Embedded(t)
		return backend(t, config.Redis{RedisURL: url}, advance)
	})
}

func TestEmbeddedTwoRedis(t *testing.T) {
	t.Parallel()
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		url, advance := testenv.Embedded(t)
		pagesURL, advancePages := testenv.Embedded(t)
		return backend(t, config.Redis{RedisURL: url, StatusRedisURL: pagesURL}, func(d time.Duration) {
			advance(d)
			advancePages(d)
		})
	})
}

func TestRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		return backend(t, config.Redis{RedisURL: server.URL}, nil)
	})
}

func TestTwoRedis(t *testing.T) {
	t.Parallel()
	server, pages := testenv.Redis(t), testenv.Redis(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		return backend(t, config.Redis{RedisURL: server.URL, StatusRedisURL: pages.URL}, nil)
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	url := testenv.RedisCluster(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		return backend(t, config.Redis{RedisURL: url, RedisCluster: true}, nil)
	})
}

// backend returns a store under a prefix of the test's own. If advance is nil, the
// clock is that of a real Redis.
func backend(t *testing.T, where config.Redis, advance func(time.Duration)) presencetest.Backend {
	t.Helper()
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: 4, Prefix: fmt.Sprint(t.Name(), stores.Add(1)), Lease: lease, Away: away})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b := presencetest.Backend{Store: store, Timing: timing, Lease: lease, Advance: advance}
	if advance == nil {
		clock := testenv.ClockOf(t, where.RedisURL)
		b.Advance, b.Now = clock.Advance, clock.Now
	}
	return b
}
