package local

import (
	"context"
	"maps"
	"os"
	"slices"

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

// startFunction makes the function that is deployed, with the same settings
// and called with the same JSON; in this process, or as its own binary.
func startFunction(ctx context.Context, opts Options, recorder *recorder) (_ lambda.Handler, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range slices.Backward(stops) {
			f()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if opts.RedisURL == "" {
		if opts.RedisCluster || opts.StatusRedisURL != "" {
			return nil, stop, presence.Errorf(presence.InvalidArgument, "The embedded Redis is one, and no cluster: give the URL of another.")
		}
		url, stopRedis, err := startRedis()
		if err != nil {
			return nil, stop, err
		}
		opts.RedisURL, stops = url, append(stops, stopRedis)
	}
	if err := opts.Validate(); err != nil {
		return nil, stop, err
	}
	store, err := redisstore.New(redisstore.Options{Timing: opts.Timing, Redis: opts.Redis, Shards: opts.Shards})
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, func() {
		if err := store.Close(); err != nil {
			opts.Logger.Warn("closing the store", "cause", err)
		}
	})
	if err := store.Ping(ctx); err != nil {
		return nil, stop, &presence.Error{Code: presence.Unavailable, Message: "Redis can not be reached", Err: presence.AsError(err).Err}
	}

	env := opts.Env()
	maps.Copy(env, map[string]string{
		"AWS_REGION":                   region,
		"AWS_ACCESS_KEY_ID":            opts.Keys.ID,
		"AWS_SECRET_ACCESS_KEY":        opts.Keys.Secret,
		"AWS_ENDPOINT_URL_EVENTBRIDGE": opts.EventBridge,
	})
	if opts.Bootstrap != "" {
		function := &runtime.Function{Bootstrap: opts.Bootstrap, Output: os.Stderr, Timeout: config.FunctionTimeout}
		for name, value := range env {
			function.Env = append(function.Env, name+"="+value)
		}
		stops = append(stops, function.Close)
		return function, stop, nil
	}
	events, err := eventbus.Client(func(name string) string { return env[name] })
	if err != nil {
		return nil, stop, err
	}
	return lambda.NewHandler(resolvers.New(resolvers.Options{
		Timing: opts.Timing, Store: store, Publisher: eventbus.New(events, opts.EventBus), SweepFor: opts.SweepFor,
		Metrics: recorder, Logger: opts.Logger,
	})), stop, nil
}
