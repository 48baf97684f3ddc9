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
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"presence"
	"presence/internal/auth"
	"presence/internal/config"
	"presence/internal/local/appsync"
	"presence/internal/local/idp"
	"presence/resolvers"
	"presence/web"
)

// Options say what to run.
type Options struct {
	// Config is the handler's. Without a RedisURL there is an embedded Redis.
	config.Config
	// Addr is where the API listens, host:port.
	Addr string
	// Issuer is whose tokens are let in. Empty means an issuer of our own.
	Issuer string
	// JWKSURL is where the keys of Issuer are. Empty means where Cognito has them.
	JWKSURL string
	// ClientIDs are the app clients whose tokens are let in. None means all.
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
	// EventBridge is where PutEvents goes, and below it at /faults what makes it
	// fail.
	EventBridge string
	// Certificate is the file with what TLS clients have to trust.
	Certificate string
	// Keys are what IAM callers sign with.
	Keys KeyPair
	// OwnIssuer says that Base issues tokens, OwnRedis that nothing is kept.
	OwnIssuer, OwnRedis bool
}

// Run runs the API until ctx ends, and then stops every part, those that call
// before those that are called. It calls ready once everything listens. What
// the options can not have is an [presence.InvalidArgument], what can not be
// reached an [presence.Unavailable].
func Run(ctx context.Context, opts Options, ready func(Running)) error {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	listener, err := listen(ctx, opts.Addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	base := baseURL(opts.Addr, listener)
	running := Running{
		Base: base, Endpoint: base + appsync.Path, Realtime: "ws" + strings.TrimPrefix(base, "http") + appsync.RealtimePath,
		Keys: opts.Keys.orNew(), OwnIssuer: opts.Issuer == "", OwnRedis: opts.RedisURL == "",
	}
	opts.Keys = running.Keys
	calls := newClient()
	defer calls.CloseIdleConnections()

	// EventBridge calls AppSync, AppSync the function, and the function
	// EventBridge. So the addresses come first.
	var bus net.Listener
	if opts.EventBridge == "" {
		if bus, err = listen(ctx, "127.0.0.1:0"); err != nil {
			return err
		}
		defer bus.Close()
		opts.EventBridge = "http://" + bus.Addr().String()
	}
	running.EventBridge = opts.EventBridge
	recorder := newRecorder()
	function, stopFunction, err := startFunction(ctx, opts, recorder)
	if err != nil {
		return err
	}
	defer stopFunction()
	failed := make(chan error, 2)
	if bus != nil {
		stop, err := startEventBridge(bus, EventBridgeOptions{
			Bus: opts.EventBus, Endpoint: running.Endpoint, Keys: opts.Keys, Logger: opts.Logger,
		}, calls, failed)
		if err != nil {
			return err
		}
		defer stop()
	}
	if opts.Sweep {
		defer startSchedule(function, opts.Logger)()
	}
	stop, certificate, err := startAppSync(listener, base, opts, function, calls, recorder, failed)
	if err != nil {
		return err
	}
	defer stop()
	running.Certificate = certificate

	ready(running)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listen listens at addr.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, presence.Errorf(presence.Unavailable, "The address %s is in use: stop what listens there, or choose another.", addr)
	case err != nil:
		return nil, &presence.Error{Code: presence.InvalidArgument, Message: "The address " + addr + " can not be listened at", Err: err}
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

// grace is how long each part may take to stop.
const grace = 5 * time.Second

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
func startAppSync(l net.Listener, base string, opts Options, function appsync.Invoker, calls *http.Client, recorder *recorder, failed chan<- error) (stop func(), certificate string, err error) {
	mux := http.NewServeMux()
	mux.Handle("/", web.Handler())
	mux.Handle("GET /metrics", recorder.handler())
	trusted := auth.Options{
		Issuer: opts.Issuer, JWKSURL: opts.JWKSURL, ClientIDs: opts.ClientIDs,
		Keys: auth.Keys{opts.Keys.ID: opts.Keys.Secret}, HTTPClient: calls,
	}
	if opts.Issuer == "" {
		issuer, err := idp.New(idp.Options{URL: base, ClientID: clientID})
		if err != nil {
			return nil, "", err
		}
		mux.Handle(idp.TokenPath, issuer)
		mux.Handle(idp.JWKSPath, issuer)
		trusted.Issuer, trusted.ClientIDs = issuer.URL(), []string{issuer.ClientID()}
	}
	authorizer, err := auth.New(trusted)
	if err != nil {
		return nil, "", err
	}
	api, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Invoker: function, Authorize: authorizer.Authorize, Logger: opts.Logger})
	if err != nil {
		return nil, "", err
	}
	mux.Handle(appsync.Path, api)
	mux.Handle(appsync.RealtimePath, api)

	cert, pem, err := appsync.SelfSigned()
	if err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if certificate, err = writeCertificate(port, pem); err != nil {
		return nil, "", err
	}
	stopServer := serve(appsync.NewListener(l, cert), appsync.NewHTTPServer(mux), api.Close, failed, opts.Logger)
	return func() {
		stopServer()
		// A file nobody misses: that it can not be removed is no failure.
		_ = os.Remove(certificate)
	}, certificate, nil
}

// writeCertificate writes what clients have to trust to the same file each time,
// so that they need to be told once, and a server that is killed leaves no more
// than one behind.
func writeCertificate(port string, pem []byte) (path string, err error) {
	path = filepath.Join(os.TempDir(), "presence-"+port+".pem")
	// Made anew: what is there may be a link that somebody else has put there.
	_ = os.Remove(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the name is ours
	if err != nil {
		return "", err
	}
	_, err = f.Write(pem)
	return path, errors.Join(err, f.Close())
}

// clientID is the app client of our own issuer's tokens.
const clientID = "presence-local"
