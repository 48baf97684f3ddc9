package redisstore

import (
	"cmp"
	"crypto/tls"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"presence"
)

// connect returns a client whose errors come quickly: a caller waits for the
// answer, and the next beat is a retry.
func connect(opts Options, url string) (redis.UniversalClient, error) {
	parsed, err := redis.ParseURL(url)
	if err != nil {
		// The cause may hold the URL's password.
		return nil, presence.Errorf(presence.InvalidArgument, "The Redis URL is not of the form redis://user:password@host:port/db or rediss://….")
	}
	common := redis.UniversalOptions{
		Addrs:                      []string{parsed.Addr},
		DB:                         parsed.DB,
		Username:                   parsed.Username,
		Password:                   parsed.Password,
		CredentialsProviderContext: opts.Credentials,
		PoolSize:                   opts.PoolSize,
		PipelinePoolSize:           -1, // pipelines take a connection of the others
		MaxRetries:                 1,
		DialerRetries:              1,
		DialTimeout:                cmp.Or(parsed.DialTimeout, 2*time.Second),
		ReadTimeout:                cmp.Or(parsed.ReadTimeout, 2*time.Second),
		WriteTimeout:               cmp.Or(parsed.WriteTimeout, 2*time.Second),
		ContextTimeoutEnabled:      true,
		DisableIdentity:            true,
		TLSConfig:                  parsed.TLSConfig,
		// A handshake that only Redis Enterprise answers.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if common.TLSConfig != nil {
		common.TLSConfig.MinVersion = tls.VersionTLS12
	}
	if !opts.RedisCluster {
		return newAutopipeline(common.Simple()).client, nil
	}
	cluster := common.Cluster()
	cluster.NewClient = func(opts *redis.Options) *redis.Client { return newAutopipeline(opts).client }
	// A master that has died answers nothing, not even where its slots are now. How
	// often the client asks the others is how long a failover lasts for us.
	cluster.ClusterStateReloadInterval = 2 * time.Second
	return redis.NewClusterClient(cluster), nil
}
