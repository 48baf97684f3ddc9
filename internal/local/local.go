// Package local runs the presence API on one machine: the handler that is
// deployed as a Lambda function, and around it what AWS would be: AppSync,
// EventBridge and its schedule, a user pool, and Redis where none is given.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"presence"
	"presence/internal/auth"
	"presence/internal/config"
	"presence/internal/local/appsync"
	"presence/internal/local/idp"
	"presence/internal/redisstore"
	"presence/resolvers"
	"presence/web"
)

// Options say what to run.
type Options struct {
	// Config is the handler's. Without a RedisURL there is an embedded Redis.
	config.Config
	// Addr is where the API listens, host:port.
	Addr string
	// Issuer signs the tokens that are accepted. Empty means an issuer of our own.
	Issuer string
	// JWKSURL is where the keys of Issuer are. Empty means where Cognito has them.
	JWKSURL string
	// ClientIDs are the app clients that accepted tokens are for. None means all.
	ClientIDs []string
	// Keys are the key pair IAM callers sign with. Its zero value is one made up.
	Keys KeyPair
	// Sweep runs the schedule that finds timeouts.
	Sweep bool
	// Bootstrap is the Lambda function's binary, to be run in processes of its
	// own. Empty means the same handler in this one.
	Bootstrap string
	// EventBridge is the URL of one in another process, see [RunEventBridge]. Empty
	// means in this one.
	EventBridge string
	// Logger takes what goes wrong. Nil means [slog.Default].
	Logger *slog.Logger
}

// KeyPair is an AWS access key.
type KeyPair struct{ ID, Secret string }

func (k KeyPair) orNew() KeyPair {
	if k.ID == "" {
		return KeyPair{"AKIALOCAL" + rand.Text()[:11], rand.Text() + rand.Text()[:14]}
	}
	return k
}

// Running says where things are.
type Running struct {
	// Base is the server's URL without a path, Endpoint and Realtime the API's.
	Base, Endpoint, Realtime string
	// EventBridge is where PutEvents goes.
	EventBridge string
	// Certificate is the file with what TLS clients have to trust. It is the same
	// until its last month.
	Certificate string
	// Keys are what IAM callers sign with.
	Keys KeyPair
	// OwnIssuer says that Base issues tokens, OwnRedis that nothing is kept.
	OwnIssuer, OwnRedis bool
}

// Run runs the API until ctx ends, and then stops every part, those that call
// before those that are called. It calls ready once everything listens. Options
// that cannot work are an [presence.InvalidArgument], what cannot be reached is
// an [presence.Unavailable].
func Run(ctx context.Context, opts Options, ready func(Running)) error {
	p := newParts(opts)
	defer p.stop()
	// EventBridge calls AppSync, AppSync the function, and the function
	// EventBridge. So the addresses come first.
	for _, start := range []func(context.Context) error{
		p.listen,
		p.startStore, // with the embedded Redis, if no other is given
		p.startFunction,
		p.startEventBridge,
		p.startSchedule,
		p.startAppSync,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	ready(p.running)
	return wait(ctx, p.failed)
}

// wait returns nil when ctx ends, or why a server failed before.
func wait(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// parts are the parts of a running API. Each start method uses what the ones
// before it have set.
type parts struct {
	opts    Options
	running Running
	// api and bus are where AppSync and EventBridge listen. Without bus,
	// EventBridge is in another process.
	api, bus net.Listener
	// calls is the client that one part calls another with.
	calls    *http.Client
	recorder *recorder
	store    *redisstore.Store
	function lambda.Handler
	// failed gets the error of a server that ended by itself.
	failed chan error
	stops  []func()
}

func newParts(opts Options) *parts {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	opts.Keys = opts.Keys.orNew()
	p := &parts{
		opts: opts, calls: newClient(), recorder: newRecorder(), failed: make(chan error, 2),
		running: Running{Keys: opts.Keys, OwnIssuer: opts.Issuer == "", OwnRedis: opts.RedisURL == ""},
	}
	p.onStop(p.calls.CloseIdleConnections)
	return p
}

// onStop has stop call f, before all that it was told until now.
func (p *parts) onStop(f func()) { p.stops = append(p.stops, f) }

// stop stops what was started, the last first.
func (p *parts) stop() {
	for _, f := range slices.Backward(p.stops) {
		f()
	}
}

// listen listens for AppSync, and for EventBridge if it is in this process.
func (p *parts) listen(ctx context.Context) (err error) {
	if p.api, err = listen(ctx, p.opts.Addr); err != nil {
		return err
	}
	p.onStop(func() { _ = p.api.Close() }) // Its server has closed it, unless there was none.
	base := baseURL(p.opts.Addr, p.api)
	p.running.Base, p.running.Endpoint = base, base+appsync.Path
	p.running.Realtime = "ws" + strings.TrimPrefix(base, "http") + appsync.RealtimePath
	if p.opts.EventBridge == "" {
		if p.bus, err = listen(ctx, "127.0.0.1:0"); err != nil {
			return err
		}
		p.onStop(func() { _ = p.bus.Close() })
		p.opts.EventBridge = "http://" + p.bus.Addr().String()
	}
	p.running.EventBridge = p.opts.EventBridge
	return nil
}

// startEventBridge serves PutEvents, unless another process does.
func (p *parts) startEventBridge(context.Context) error {
	if p.bus == nil {
		return nil
	}
	stop, err := startEventBridge(p.bus, EventBridgeOptions{
		Bus: p.opts.EventBus, Endpoint: p.running.Endpoint, Keys: p.opts.Keys, Logger: p.opts.Logger,
	}, p.calls, p.failed)
	if err == nil {
		p.onStop(stop)
	}
	return err
}

// startSchedule starts the sweep.
func (p *parts) startSchedule(context.Context) error {
	if p.opts.Sweep {
		p.onStop(startSchedule(p.function, p.opts.Logger))
	}
	return nil
}

// listen listens at addr.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, presence.Errorf(presence.Unavailable, "The address %s is in use: stop what listens there, or choose another.", addr)
	case err != nil:
		return nil, &presence.Error{Code: presence.InvalidArgument, Message: "The address " + addr + " cannot be listened at", Err: err}
	}
	return l, nil
}

// baseURL returns a URL of l by the name the user gave it: localhost is not
// the same origin, nor the same issuer, as 127.0.0.1.
func baseURL(addr string, l net.Listener) string {
	host, _, _ := net.SplitHostPort(addr) // It was listened at.
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "http://" + net.JoinHostPort(host, port)
}

// newClient returns the client one part calls another with. EventBridge makes
// many calls at once to one host.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	return &http.Client{Transport: transport}
}

// grace is how long each part may take to stop. [http.Server.Shutdown] waits 5
// seconds for a connection that was opened and never used.
const grace = 8 * time.Second

// serve serves until stop is called, which first calls drain: what a server's
// own Shutdown does not wait for.
func serve(l net.Listener, s *http.Server, drain func(context.Context) error, failed chan<- error, logger *slog.Logger) (stop func()) {
	// What clients do wrong, such as not to trust a certificate, is theirs to see.
	s.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if err := errors.Join(drain(ctx), s.Shutdown(ctx)); err != nil {
			logger.Warn("cut off what did not end", "cause", err)
			_ = s.Close()
		}
		<-done
	}
}

// startAppSync serves the API and what belongs to it, plain and by TLS.
func (p *parts) startAppSync(context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/", web.Handler())
	mux.Handle("GET /metrics", p.recorder.handler())
	authorizer, err := p.authorizer(mux)
	if err != nil {
		return err
	}
	api, err := appsync.New(appsync.Options{
		Schema: presence.Schema, Code: resolvers.JS, Invoker: p.function, Authorize: authorizer.Authorize, CheckSignature: authorizer.CheckSignature, Logger: p.opts.Logger,
	})
	if err != nil {
		return err
	}
	mux.Handle(appsync.Path, api)
	mux.Handle(appsync.RealtimePath, api)

	cert, path, err := certificate()
	if err != nil {
		return err
	}
	p.running.Certificate = path
	p.onStop(serve(appsync.NewListener(p.api, cert), appsync.NewHTTPServer(mux), api.Close, p.failed, p.opts.Logger))
	// Before the server stops: it would wait for a connection that EventBridge has
	// opened and not used.
	p.onStop(p.calls.CloseIdleConnections)
	return nil
}

// authorizer returns what lets callers in. Where no other issuer is given, mux
// gets one of our own.
func (p *parts) authorizer(mux *http.ServeMux) (*auth.Authorizer, error) {
	trusted := auth.Options{
		Issuer: p.opts.Issuer, JWKSURL: p.opts.JWKSURL, ClientIDs: p.opts.ClientIDs,
		Keys: auth.Keys{p.opts.Keys.ID: p.opts.Keys.Secret}, HTTPClient: p.calls,
	}
	if p.opts.Issuer == "" {
		issuer, err := idp.New(idp.Options{URL: p.running.Base, ClientID: clientID})
		if err != nil {
			return nil, err
		}
		mux.Handle(idp.TokenPath, issuer)
		mux.Handle(idp.JWKSPath, issuer)
		trusted.Issuer, trusted.ClientIDs = issuer.URL(), []string{issuer.ClientID()}
	}
	return auth.New(trusted)
}

// clientID is the app client of our own issuer's tokens.
const clientID = "presence-local"
