package infra_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/infra"
	"presence/internal/config"
	"presence/internal/presencetest"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// As the user the stack creates, with the rights it gives, the store does all
// it has to.
func TestAccessString(t *testing.T) {
	t.Parallel()
	t.Run("one-node", func(t *testing.T) {
		t.Parallel()
		address := testenv.Redis(t).URL
		setUser(t, address)
		conform(t, config.Redis{RedisURL: asUser(t, address)})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		address := testenv.RedisCluster(t)
		opts, err := redis.ParseURL(address)
		if err != nil {
			t.Fatal(err)
		}
		cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{opts.Addr}})
		defer cluster.Close()
		err = cluster.ForEachShard(t.Context(), func(_ context.Context, node *redis.Client) error {
			setUser(t, "redis://"+node.Options().Addr)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		conform(t, config.Redis{RedisURL: asUser(t, address), RedisCluster: true})
	})
	t.Run("nothing-else", func(t *testing.T) {
		t.Parallel()
		address := testenv.Redis(t).URL
		setUser(t, address)
		opts, err := redis.ParseURL(asUser(t, address))
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(opts)
		defer client.Close()
		for _, command := range [][]any{
			{"get", "somebody-elses"},
			{"set", "somebody-elses", 1},
			{"keys", "*"},
			{"flushall"},
			{"config", "get", "*"},
			{"acl", "list"},
			{"publish", "presence", "x"},
			{"shutdown"},
			{"replicaof", "no", "one"},
		} {
			if err := client.Do(t.Context(), command...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
				t.Errorf("%v: got %v, want it refused", command, err)
			}
		}
	})
}

// setUser creates the user on a server. Locally it has a password, where
// ElastiCache asks IAM.
func setUser(t *testing.T, address string) {
	opts, err := redis.ParseURL(address)
	if err != nil {
		t.Error(err)
		return
	}
	client := redis.NewClient(opts)
	defer client.Close()
	args := []any{"acl", "setuser", "presence", ">password"}
	for _, rule := range strings.Fields(infra.AccessString) {
		args = append(args, rule)
	}
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Error(err)
	}
}

// asUser returns a server's URL with the user's name and password.
func asUser(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("presence", "password")
	return u.String()
}

// conform runs the store's conformance suite.
func conform(t *testing.T, where config.Redis) {
	timing := presence.Timing{Heartbeat: 200 * time.Millisecond, Timeout: 600 * time.Millisecond, Retention: 1500 * time.Millisecond}
	const lease = 150 * time.Millisecond
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: 4, Prefix: "presence" + rand.Text(), Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		clock := testenv.ClockOf(t, where.RedisURL)
		return presencetest.Backend{Store: store, Timing: timing, Lease: lease, Advance: clock.Advance, Now: clock.Now}
	})
}
