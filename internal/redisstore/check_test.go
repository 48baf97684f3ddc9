package redisstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// checked checks that Check answers an error that contains each of want, or none
// if there is no want.
func checked(t *testing.T, where config.Redis, want ...string) {
	t.Helper()
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.Check(t.Context())
	if len(want) == 0 {
		if err != nil {
			t.Errorf("%+v: got %v, want no error", where, err)
		}
		return
	}
	var e *presence.Error
	if !errors.As(err, &e) || e.Code != presence.InvalidArgument {
		t.Errorf("%+v: got %v, want an InvalidArgument", where, err)
		return
	}
	for _, part := range want {
		if !strings.Contains(e.Message, part) {
			t.Errorf("%+v: %q does not say %q", where, e.Message, part)
		}
	}
}

// restricted returns the URL of a user of a server who may only do what the rules
// say.
func restricted(t *testing.T, url string, rules ...any) string {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	admin := redis.NewClient(opts)
	defer admin.Close()
	args := append([]any{"acl", "setuser", "user", "on", ">password", "~*", "+@all"}, rules...)
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(url, "redis://", "redis://user:password@", 1)
}

// Row C6 of the trials: nothing said that Redis would evict people.
func TestC6EvictingRedis(t *testing.T) {
	t.Parallel()
	keeping := testenv.Redis(t).URL
	evicting := testenv.Redis(t, "--maxmemory-policy", "allkeys-lru").URL
	noConfig := restricted(t, evicting, "-config")
	checked(t, config.Redis{RedisURL: keeping})
	for _, policy := range []string{"volatile-lru", "allkeys-random", "volatile-ttl"} {
		url := testenv.Redis(t, "--maxmemory-policy", policy).URL
		checked(t, config.Redis{RedisURL: url}, "PRESENCE_REDIS_URL", policy, "noeviction")
	}
	checked(t, config.Redis{RedisURL: evicting}, "PRESENCE_REDIS_URL", "allkeys-lru", "noeviction")
	checked(t, config.Redis{RedisURL: noConfig}, "PRESENCE_REDIS_URL", "allkeys-lru", "noeviction")
	checked(t, config.Redis{RedisURL: keeping, StatusRedisURL: evicting}, "PRESENCE_STATUS_REDIS_URL", "allkeys-lru", "noeviction")
	// What Redis does not say cannot be told.
	checked(t, config.Redis{RedisURL: restricted(t, evicting, "-config", "-info")})
	checked(t, config.Redis{RedisURL: "redis://127.0.0.1:1"})
	embedded, _ := testenv.Embedded(t)
	checked(t, config.Redis{RedisURL: embedded})
}

// Row C6 of the trials: most calls failed, of a cluster taken for one server.
func TestC6ClusterWithoutTheFlag(t *testing.T) {
	t.Parallel()
	cluster, single := testenv.RedisCluster(t), testenv.Redis(t).URL
	checked(t, config.Redis{RedisURL: cluster, RedisCluster: true})
	checked(t, config.Redis{RedisURL: cluster}, "PRESENCE_REDIS_URL", "PRESENCE_REDIS_CLUSTER=true")
	checked(t, config.Redis{RedisURL: restricted(t, cluster, "-config", "-info")}, "PRESENCE_REDIS_CLUSTER=true")
	checked(t, config.Redis{RedisURL: single, StatusRedisURL: cluster}, "PRESENCE_STATUS_REDIS_URL", "PRESENCE_REDIS_CLUSTER=true")
	checked(t, config.Redis{RedisURL: single, RedisCluster: true}, "PRESENCE_REDIS_URL", "unset PRESENCE_REDIS_CLUSTER")

	opts, err := redis.ParseURL(cluster)
	if err != nil {
		t.Fatal(err)
	}
	nodes := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{opts.Addr}})
	defer nodes.Close()
	evict := func(key string) error {
		node, err := nodes.MasterForKey(t.Context(), key)
		if err != nil {
			return err
		}
		return node.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err()
	}
	if err := evict("some key"); err != nil { // one of the three nodes
		t.Fatal(err)
	}
	checked(t, config.Redis{RedisURL: cluster, RedisCluster: true}, "PRESENCE_REDIS_URL", "allkeys-lru", "noeviction")
}
