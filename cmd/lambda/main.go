// Command lambda is the Lambda function's bootstrap, for the provided.al2023
// runtime. Its configuration is its environment; see internal/config.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/redis/go-redis/v9/logging"

	"presence/internal/config"
	"presence/internal/eventbus"
	"presence/internal/metrics"
	"presence/internal/redisstore"
	"presence/resolvers"
)

func main() {
	// An instance answers one call at a time on a fraction of a CPU. A second
	// thread would only be woken up to find nothing to do: see docs/performance.md.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	slog.SetDefault(lambdacontext.NewLogger())
	logging.Disable() // go-redis' own lines are no JSON, and its errors reach us anyway
	handler, err := newHandler()
	if err != nil {
		slog.Error("not started", "cause", err)
		os.Exit(1)
	}
	lambda.Start(handler)
}

// checkTimeout is how long an instance's start waits for Redis to say how it is
// set up. The first call then finds the connection there.
const checkTimeout = time.Second

// newHandler starts without Redis too: a call that needs it says so.
func newHandler() (*resolvers.Handler, error) {
	c, err := config.FromEnv()
	if err != nil {
		return nil, err
	}
	var credentials func(context.Context) (username, password string, err error)
	if c.RedisIAMUser != "" {
		credentials = elastiCacheCredentials(c.Redis, os.Getenv)
	}
	store, err := redisstore.New(redisstore.Options{
		Timing:      c.Timing,
		Redis:       c.Redis,
		Shards:      c.Shards,
		Credentials: credentials,
		// An instance answers one call at a time; only sweep and statuses have more
		// than one script in flight.
		PoolSize: 4,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	if err := store.Check(ctx); err != nil {
		slog.Warn("Redis is not set up as presence needs it", "cause", err)
	}
	client, err := eventbus.Client(os.Getenv)
	if err != nil {
		return nil, err
	}
	emf := metrics.NewEMF(os.Stdout, nil)
	emf.Namespace = c.MetricsNamespace
	return resolvers.New(resolvers.Options{
		Timing:    c.Timing,
		Store:     store,
		Publisher: eventbus.New(client, c.EventBus),
		SweepFor:  c.SweepFor,
		Metrics:   emf,
	}), nil
}
