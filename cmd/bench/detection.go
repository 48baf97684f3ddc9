package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"presence"
	"presence/internal/client"
	"presence/internal/config"
	"presence/internal/local"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// measureDetection has users stop beating, a few each second, and measures how
// long after each one's deadline a subscriber of the whole local chain hears of
// it: the sweep, PutEvents, the rule, the mutation, the WebSocket.
func measureDetection(ctx context.Context, b *bench) error {
	api, err := b.startAPI(ctx, presence.Timing{Heartbeat: time.Second, Timeout: 2 * time.Second, Retention: time.Hour})
	if err != nil {
		return err
	}
	defer func() { _ = api.stop() }()
	users := pick(b, 1500, 60)
	t := &timeouts{deadlines: map[string]time.Time{}, late: newHistogram(), missing: users, all: make(chan struct{})}
	if err := api.watch(ctx, users, t.heard); err != nil {
		return err
	}
	// A whole minute, so that the schedule's own beat is in it.
	if err := t.visit(ctx, api.store, users, pick(b, time.Minute, 2*time.Second)); err != nil {
		return err
	}
	select {
	case <-t.all:
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	t.mu.Lock()
	missing := t.missing
	r := summary(time.Second, t.late)
	t.mu.Unlock()
	b.add(figure{"detection/p50", millis(r.P50), "ms", 0, atMost(1000)})
	b.add(figure{"detection/p99", millis(r.P99), "ms", 0, atMost(2000)})
	b.add(figure{"detection/unheard", float64(missing), "users", 0, atMost(0)})
	return api.stop()
}

// timeouts are the deadlines of users, and how late a subscriber hears of each.
type timeouts struct {
	mu        sync.Mutex
	deadlines map[string]time.Time
	late      *hdrhistogram.Histogram
	missing   int
	all       chan struct{} // closed when none is missing
}

// visit has each user come once, evenly spread over a time, and never beat.
func (t *timeouts) visit(ctx context.Context, store *redisstore.Store, users int, while time.Duration) error {
	gap := time.NewTicker(while / time.Duration(users))
	defer gap.Stop()
	for n := range users {
		state, err := store.Touch(ctx, presence.Beat{UserID: userID(n), Page: page, Reason: presence.ReasonConnect})
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.deadlines[userID(n)] = state.ExpiresAt.Time()
		t.mu.Unlock()
		if err := store.Acknowledge(ctx, userID(n), state.Note); err != nil {
			return err
		}
		<-gap.C
	}
	return nil
}

// heard takes a message of the subscriber. It may come twice; the first is when
// the subscriber knows.
func (t *timeouts) heard(p presence.Presence) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	deadline, waiting := t.deadlines[p.UserID]
	if !waiting || p.Status != presence.Offline {
		return
	}
	_ = t.late.RecordValue(now.Sub(deadline).Nanoseconds())
	delete(t.deadlines, p.UserID)
	if t.missing--; t.missing == 0 {
		close(t.all)
	}
}

// api is the local server in this process, on a redis-server of its own.
type api struct {
	endpoint string
	store    *redisstore.Store // on the same Redis
	stop     func() error      // returns why the server ended, if by itself
}

// startAPI starts the local server with all its parts, the sweep included.
func (b *bench) startAPI(ctx context.Context, timing presence.Timing) (_ *api, err error) {
	server, err := testenv.StartRedis(b.dir)
	if err != nil {
		return nil, err
	}
	where := config.Redis{RedisURL: server.URL}
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: shards})
	if err != nil {
		server.Kill()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan local.Running, 1), make(chan error, 1)
	go func() {
		ended <- local.Run(ctx, local.Options{
			Config: config.Config{Timing: timing, Redis: where, Shards: shards, SweepFor: time.Minute, EventBus: "presence"},
			Addr:   "127.0.0.1:0", Sweep: true, Logger: slog.New(slog.DiscardHandler),
		}, func(r local.Running) { ready <- r })
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		err := <-ended
		_ = store.Close()
		server.Kill()
		return err
	})
	select {
	case running := <-ready:
		return &api{running.Endpoint, store, stop}, nil
	case err := <-ended:
		ended <- nil // for stop
		_ = stop()
		return nil, err
	}
}

// client returns a client with a token of the user.
func (a *api) client(ctx context.Context, user string) (*client.Client, error) {
	token, err := client.LocalToken(ctx, a.endpoint, user)
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Endpoint: a.endpoint, Authorize: client.Token(token)})
}

// watch subscribes to the users numbered from 0, as many to a subscription as
// it takes, and returns once all are acknowledged. The subscription lasts until
// ctx or the API ends. What it misses by failing is counted by who waits for it.
func (a *api) watch(ctx context.Context, users int, heard func(presence.Presence)) error {
	watcher, err := a.client(ctx, "watcher")
	if err != nil {
		return err
	}
	ids := make([]string, users)
	for n := range ids {
		ids[n] = userID(n)
	}
	subscribed, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- watcher.Subscribe(ctx, ids, client.Subscriber{Subscribed: sync.OnceFunc(func() { close(subscribed) }), Data: heard})
	}()
	select {
	case <-subscribed:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
