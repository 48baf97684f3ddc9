package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"presence"
	"presence/internal/eventbus"
	"presence/internal/redisstore"
	"presence/resolvers"
)

// startFunction makes the function that is deployed, from the same settings.
// It is called through the same decoding of JSON, too.
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
	if opts.RedisIAMUser != "" {
		return nil, stop, presence.Errorf(presence.InvalidArgument, "Only the Lambda function can show ElastiCache an IAM user: leave it out here.")
	}
	if opts.RedisURL == "" {
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
	events, err := eventbus.Client(func(name string) string {
		return map[string]string{
			"AWS_REGION":                   region,
			"AWS_ACCESS_KEY_ID":            opts.Keys.ID,
			"AWS_SECRET_ACCESS_KEY":        opts.Keys.Secret,
			"AWS_ENDPOINT_URL_EVENTBRIDGE": opts.EventBridge,
		}[name]
	})
	if err != nil {
		return nil, stop, err
	}
	return lambda.NewHandler(resolvers.New(resolvers.Options{
		Timing: opts.Timing, Store: store, Publisher: eventbus.New(events, opts.EventBus), SweepFor: opts.SweepFor,
		Metrics: recorder, Logger: opts.Logger,
	})), stop, nil
}

// region is where the local AWS is.
const region = "us-east-1"

// remoteFunction is a function in another process, called as AWS's Invoke API
// is.
type remoteFunction struct {
	url    string
	client *http.Client
}

// Invoke implements [lambda.Handler].
func (f remoteFunction) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/2015-03-31/functions/function/invocations", bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("local: invoke: %s", resp.Status)
	case resp.Header.Get("X-Amz-Function-Error") != "":
		// What the function failed with, rather than the call.
		var failure messages.InvokeResponse_Error
		if err := json.Unmarshal(body, &failure); err != nil {
			return nil, fmt.Errorf("local: invoke: %w", err)
		}
		return nil, failure
	}
	return body, nil
}
