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

// detection is a local server and a subscriber to many of its users.
type detection struct {
	store   *redisstore.Store
	watcher *client.Client
	users   int
	stop    func() error

	mu        sync.Mutex
	deadlines map[string]time.Time // of users not yet heard to be offline
	late      *hdrhistogram.Histogram
	all       chan struct{} // closed when every user has been heard
}

var detectionTiming = presence.Timing{Heartbeat: time.Second, Timeout: 2 * time.Second, Retention: time.Hour}

// measureDetection has users stop beating, a few each second, and measures how
// long after each one's deadline a subscriber of the whole local chain hears of
// it: the sweep, PutEvents, the rule, the mutation, the WebSocket.
func measureDetection(ctx context.Context, b *bench) error {
	server, err := testenv.StartRedis(b.dir)
	if err != nil {
		return err
	}
	defer server.Kill()
	d := &detection{users: pick(b, 1500, 60), deadlines: map[string]time.Time{}, late: newHistogram(), all: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.start(ctx, cancel, server.URL); err != nil {
		return err
	}
	defer func() { _ = d.store.Close() }()
	if err := d.subscribe(ctx); err != nil {
		return err
	}
	// A whole minute, so that the schedule's own beat is in it.
	if err := d.connect(ctx, pick(b, time.Minute, 2*time.Second)/time.Duration(d.users)); err != nil {
		return err
	}
	select {
	case <-d.all:
	case <-time.After(30 * time.Second):
	}
	d.mu.Lock()
	r := summary(time.Second, d.late)
	b.add(figure{"detection/p50", millis(r.P50), "ms", 0, atMost(1000)})
	b.add(figure{"detection/p99", millis(r.P99), "ms", 0, atMost(2000)})
	b.add(figure{"detection/unheard", float64(len(d.deadlines)), "users", 0, atMost(0)})
	d.mu.Unlock()
	return d.stop()
}

// start starts the local server.
func (d *detection) start(ctx context.Context, cancel func(), redisURL string) (err error) {
	where := config.Redis{RedisURL: redisURL}
	if d.store, err = redisstore.New(redisstore.Options{Timing: detectionTiming, Redis: where, Shards: shards}); err != nil {
		return err
	}
	ready, ended := make(chan local.Running, 1), make(chan error, 1)
	go func() {
		ended <- local.Run(ctx, local.Options{
			Config: config.Config{
				Timing: detectionTiming, Redis: where, Shards: shards, SweepFor: time.Minute, EventBus: "presence",
			},
			Addr: "127.0.0.1:0", Sweep: true, Logger: slog.New(slog.DiscardHandler),
		}, func(r local.Running) { ready <- r })
	}()
	d.stop = func() error { cancel(); return <-ended }
	var running local.Running
	select {
	case running = <-ready:
	case err := <-ended:
		return err
	}
	token, err := client.LocalToken(ctx, running.Endpoint, "watcher")
	if err != nil {
		return err
	}
	d.watcher, err = client.New(client.Options{Endpoint: running.Endpoint, Authorize: client.Token(token)})
	return err
}

// subscribe subscribes to every user.
func (d *detection) subscribe(ctx context.Context) error {
	const perConnection = 100
	subscribed := make(chan struct{})
	for from := 0; from < d.users; from += perConnection {
		var ids []string
		for n := from; n < min(from+perConnection, d.users); n++ {
			ids = append(ids, userID(n))
		}
		subscriber := client.Subscriber{Subscribed: func() { subscribed <- struct{}{} }, Data: d.heard}
		// What it misses by failing is counted.
		go func() { _ = d.watcher.Subscribe(ctx, ids, subscriber) }()
		select {
		case <-subscribed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// heard takes a message. It may come twice; the first is when the subscriber
// knows.
func (d *detection) heard(p presence.Presence) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	deadline, waiting := d.deadlines[p.UserID]
	if !waiting || p.Status != presence.Offline {
		return
	}
	_ = d.late.RecordValue(now.Sub(deadline).Nanoseconds())
	delete(d.deadlines, p.UserID)
	if d.late.TotalCount() == int64(d.users) {
		close(d.all)
	}
}

// connect connects one user after the other, who then never beat.
func (d *detection) connect(ctx context.Context, gap time.Duration) error {
	tick := time.NewTicker(gap)
	defer tick.Stop()
	for n := range d.users {
		state, err := d.store.Touch(ctx, presence.Beat{UserID: userID(n), Page: page, Reason: presence.ReasonConnect})
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.deadlines[userID(n)] = state.ExpiresAt.Time()
		d.mu.Unlock()
		if err := d.store.Acknowledge(ctx, userID(n), state.Note); err != nil {
			return err
		}
		<-tick.C
	}
	return nil
}
