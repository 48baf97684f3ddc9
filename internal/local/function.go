package local

import (
	"context"
	"maps"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"presence"
	"presence/internal/config"
	"presence/internal/eventbus"
	runtime "presence/internal/local/lambda"
	"presence/internal/redisstore"
	"presence/resolvers"
)

// region is where the local AWS is.
const region = "us-east-1"

// startStore connects to Redis. It starts an embedded one if no other is given.
func (p *parts) startStore(ctx context.Context) error {
	opts := &p.opts
	if opts.RedisURL == "" {
		if opts.RedisCluster || opts.StatusRedisURL != "" {
			return presence.Errorf(presence.InvalidArgument, "The embedded Redis is one server and no cluster: give the URL of another.")
		}
		url, stop, err := startRedis()
		if err != nil {
			return err
		}
		p.onStop(stop)
		opts.RedisURL = url
	}
	if err := opts.Validate(); err != nil {
		return err
	}
	store, err := redisstore.New(redisstore.Options{Timing: opts.Timing, Redis: opts.Redis, Shards: opts.Shards})
	if err != nil {
		return err
	}
	p.onStop(func() {
		if err := store.Close(); err != nil {
			opts.Logger.Warn("closing the store", "cause", err)
		}
	})
	p.store = store
	// A Redis set up wrongly may not answer a ping either.
	if err := store.Check(ctx); err != nil {
		return err
	}
	if err := store.Ping(ctx); err != nil {
		return &presence.Error{Code: presence.Unavailable, Message: "Redis cannot be reached", Err: presence.AsError(err).Err}
	}
	return nil
}

// startFunction makes the function that is deployed, with the same settings
// and called with the same JSON; in this process, or as its own binary.
func (p *parts) startFunction(context.Context) error {
	env := p.opts.Env()
	maps.Copy(env, map[string]string{
		"AWS_REGION":                   region,
		"AWS_ACCESS_KEY_ID":            p.opts.Keys.ID,
		"AWS_SECRET_ACCESS_KEY":        p.opts.Keys.Secret,
		"AWS_ENDPOINT_URL_EVENTBRIDGE": p.opts.EventBridge,
	})
	if p.opts.Bootstrap != "" {
		function := &runtime.Function{Bootstrap: p.opts.Bootstrap, Output: os.Stderr, Timeout: config.FunctionTimeout}
		for name, value := range env {
			function.Env = append(function.Env, name+"="+value)
		}
		p.onStop(function.Close)
		p.function = function
		return nil
	}
	events, err := eventbus.Client(func(name string) string { return env[name] })
	if err != nil {
		return err
	}
	p.function = lambda.NewHandler(resolvers.New(resolvers.Options{
		Timing: p.opts.Timing, Store: p.store, Publisher: eventbus.New(events, p.opts.EventBus), SweepFor: p.opts.SweepFor,
		Metrics: p.recorder, Logger: p.opts.Logger,
	}))
	return nil
}
