package local

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	appsyncwire "presence/internal/appsync"
	"presence/internal/auth"
	"presence/internal/local/eventbridge"
)

// EventBridgeOptions say what EventBridge does.
type EventBridgeOptions struct {
	// Bus is the name of the bus, Endpoint the API whose subscribers are told, and
	// Keys what callers sign with, EventBridge itself among them.
	Bus, Endpoint string
	Keys          KeyPair
	// Sweep runs the schedule.
	Sweep bool
	// Logger takes what goes wrong.
	Logger *slog.Logger
}

// RunEventBridge runs EventBridge alone at addr until ctx ends, with the
// function, if there is to be a schedule, at a URL. It calls ready with its
// own URL.
func RunEventBridge(ctx context.Context, addr, function string, opts EventBridgeOptions, ready func(url string)) error {
	l, err := listen(addr)
	if err != nil {
		return err
	}
	defer l.Close()
	calls := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	defer calls.CloseIdleConnections()
	failed := make(chan error, 1)
	stop, err := startEventBridge(l, opts, remoteFunction{function, calls}, calls, failed)
	if err != nil {
		return err
	}
	defer stop()
	ready("http://" + l.Addr().String())
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// startEventBridge serves PutEvents with the rules that are deployed, and runs
// the schedule.
func startEventBridge(l net.Listener, opts EventBridgeOptions, function lambda.Handler, calls *http.Client, failed chan<- error) (stop func(), err error) {
	keys := auth.Keys{opts.Keys.ID: opts.Keys.Secret}
	bus, err := eventbridge.New(eventbridge.Options{
		Rules: eventbridge.AppSync{
			Endpoint: opts.Endpoint, Region: region, HTTPClient: calls, Logger: opts.Logger,
			Credentials: aws.Credentials{AccessKeyID: opts.Keys.ID, SecretAccessKey: opts.Keys.Secret},
		}.Announce(opts.Bus),
		Authorize: func(r *http.Request, body []byte) error {
			header := r.Header.Clone()
			header.Set("Host", r.Host)
			_, err := keys.Verify(appsyncwire.Credentials{
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
	// What is to go wrong, as the JSON of Faults: for tests, which know when.
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		var f eventbridge.Faults
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		bus.SetFaults(f)
	})
	stopServer := serve(l, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, bus.Close, failed, opts.Logger)

	ctx, cancel := context.WithCancel(context.Background())
	scheduled := make(chan struct{})
	go func() {
		defer close(scheduled)
		if opts.Sweep {
			schedule(ctx, function, opts.Logger)
		}
	}()
	return func() {
		cancel()
		<-scheduled
		stopServer()
	}, nil
}

// schedule is the rule that runs the sweep. AWS starts a run each minute, and
// a run lasts for most of it; here each follows the one before.
func schedule(ctx context.Context, function lambda.Handler, logger *slog.Logger) {
	for {
		started := time.Now()
		if _, err := function.Invoke(ctx, scheduledEvent(started)); err != nil && ctx.Err() == nil {
			logger.Error("sweep failed", "cause", err)
		}
		// A run may be one pass, or fail at once: that is no reason for haste.
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(started.Add(time.Second))):
		}
	}
}

// scheduledEvent is what a rule with a schedule invokes its target with.
func scheduledEvent(at time.Time) []byte {
	return fmt.Appendf(nil, `{"version":"0","id":%q,"detail-type":"Scheduled Event","source":"aws.events","account":"000000000000","time":%q,"region":%q,"resources":["arn:aws:events:%[3]s:000000000000:rule/sweep"],"detail":{}}`,
		uuid.NewString(), at.UTC().Format(time.RFC3339), region)
}
