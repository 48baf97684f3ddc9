package redisstore_test

import (
	"testing"
	"time"

	"presence"
	"presence/internal/config"
	"presence/internal/presencetest"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// timing is short for real Redis, whose clock can not be moved: there every
// step of a test takes its time. It is long enough for a busy machine to stand
// still for a second and no test to notice.
var timing = presence.Timing{Heartbeat: 800 * time.Millisecond, Timeout: 2 * time.Second, Retention: 5 * time.Second}

const (
	lease = time.Second
	away  = 3 * time.Second
)

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
		return backend(t, config.Redis{RedisURL: server.URL}, testenv.Pause)
	})
}

func TestTwoRedis(t *testing.T) {
	t.Parallel()
	server, pages := testenv.Redis(t), testenv.Redis(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		return backend(t, config.Redis{RedisURL: server.URL, StatusRedisURL: pages.URL}, testenv.Pause)
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	url := testenv.RedisCluster(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		return backend(t, config.Redis{RedisURL: url, RedisCluster: true}, testenv.Pause)
	})
}

// backend returns a store under a prefix of the test's own.
func backend(t *testing.T, where config.Redis, advance func(time.Duration)) presencetest.Backend {
	t.Helper()
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: 4, Prefix: t.Name(), Lease: lease, Away: away})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return presencetest.Backend{Store: store, Timing: timing, Lease: lease, Advance: advance}
}
