package local

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"presence/internal/auth"
	"presence/internal/local/appsync"
	"presence/internal/local/eventbridge"
	"presence/internal/wire"
)

// EventBridgeOptions configures EventBridge.
type EventBridgeOptions struct {
	// Bus is the name of the bus. Endpoint is the API that the rules call.
	Bus, Endpoint string
	// Keys are what callers sign with, and EventBridge in its turn.
	Keys KeyPair
	// Faults lets callers with Keys set what goes wrong, by PUT at /faults. It is
	// for tests.
	Faults bool
	// Logger takes what goes wrong. It is required.
	Logger *slog.Logger
}

// RunEventBridge runs EventBridge alone at addr until ctx ends, for a [Run] in
// another process. It calls ready with its URL.
func RunEventBridge(ctx context.Context, addr string, opts EventBridgeOptions, ready func(url string)) error {
	l, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	defer l.Close()
	calls := newClient()
	defer calls.CloseIdleConnections()
	failed := make(chan error, 1)
	stop, err := startEventBridge(l, opts, calls, failed)
	if err != nil {
		return err
	}
	defer stop()
	ready("http://" + l.Addr().String())
	return wait(ctx, failed)
}

// startEventBridge serves PutEvents, with the rules that are deployed.
func startEventBridge(l net.Listener, opts EventBridgeOptions, calls *http.Client, failed chan<- error) (stop func(), err error) {
	keys := auth.Keys{opts.Keys.ID: opts.Keys.Secret}
	bus, err := eventbridge.New(eventbridge.Options{
		Rules: eventbridge.AppSync{
			Endpoint: opts.Endpoint, Region: region, HTTPClient: calls, Logger: opts.Logger,
			Credentials: aws.Credentials{AccessKeyID: opts.Keys.ID, SecretAccessKey: opts.Keys.Secret},
		}.Announce(opts.Bus),
		Authorize: func(r *http.Request, body []byte) error {
			header := r.Header.Clone()
			header.Set("Host", r.Host)
			_, err := keys.Verify(wire.Credentials{
				Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: header, Body: body,
			}, "events", time.Now())
			return err
		},
		Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", bus)
	if opts.Faults {
		mux.HandleFunc("PUT /faults", bus.ServeFaults)
	}
	return serve(l, appsync.NewHTTPServer(mux), bus.Close, failed, opts.Logger), nil
}
