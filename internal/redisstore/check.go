package redisstore

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"presence"
)

// Check reports a Redis that is set up so that it would lose people: one that
// evicts keys, or a cluster that is taken for one server. The error is a
// [presence.InvalidArgument] that names what to set. A Redis that does not say
// how it is set up passes, and so does one that cannot be reached.
func (s *Store) Check(ctx context.Context) error {
	if err := s.check(ctx, s.redis, "PRESENCE_REDIS_URL"); err != nil || s.pages == nil {
		return err
	}
	return s.check(ctx, s.pages.client, "PRESENCE_STATUS_REDIS_URL")
}

// check checks the Redis that a setting names.
func (s *Store) check(ctx context.Context, client redis.UniversalClient, setting string) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		at := s.setup(ctx, client)
		if at.cluster {
			return presence.Errorf(presence.InvalidArgument, "The Redis of %s is a cluster: set PRESENCE_REDIS_CLUSTER=true (--redis-cluster).", setting)
		}
		return checkPolicy(at.policy, setting)
	}
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		return checkPolicy(s.setup(ctx, node).policy, setting)
	})
	var wrong *presence.Error
	switch {
	case errors.As(err, &wrong):
		return wrong
	case err != nil && strings.Contains(err.Error(), "cluster support disabled"):
		return presence.Errorf(presence.InvalidArgument, "The Redis of %s is no cluster: unset PRESENCE_REDIS_CLUSTER (--redis-cluster).", setting)
	}
	return nil
}

func checkPolicy(policy, setting string) error {
	if policy == "" || policy == "noeviction" {
		return nil
	}
	return presence.Errorf(presence.InvalidArgument, "The Redis of %s evicts keys when its memory is full (%s), and people would vanish: set its maxmemory-policy to noeviction.", setting, policy)
}

// setup is how a Redis is set up.
type setup struct {
	policy  string // maxmemory-policy; empty if it does not say
	cluster bool
}

// setup asks a Redis how it is set up, in one round trip. ElastiCache has no
// CONFIG, and a user may be refused INFO. A cluster is then known by keys it has
// elsewhere.
func (s *Store) setup(ctx context.Context, client redis.Cmdable) (at setup) {
	var policy *redis.MapStringStringCmd
	var memory, cluster *redis.StringCmd
	keys := make([]*redis.IntCmd, len(s.keys.Shards()))
	// Errors are those of single commands.
	_, _ = client.Pipelined(ctx, func(p redis.Pipeliner) error {
		policy = p.ConfigGet(ctx, "maxmemory-policy")
		memory, cluster = p.Info(ctx, "memory"), p.Info(ctx, "cluster")
		for i, shard := range s.keys.Shards() {
			keys[i] = p.Exists(ctx, shard.Shard)
		}
		return nil
	})
	if at.policy = policy.Val()["maxmemory-policy"]; at.policy == "" {
		at.policy = infoField(memory.Val(), "maxmemory_policy")
	}
	at.cluster = infoField(cluster.Val(), "cluster_enabled") == "1"
	for _, key := range keys {
		at.cluster = at.cluster || redis.HasErrorPrefix(key.Err(), "MOVED") || redis.HasErrorPrefix(key.Err(), "CLUSTERDOWN")
	}
	return at
}

// infoField returns a field of what INFO answers.
func infoField(info, field string) string {
	for line := range strings.Lines(info) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name == field {
			return value
		}
	}
	return ""
}
