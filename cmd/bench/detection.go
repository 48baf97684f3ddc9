package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

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
	server, err := testenv.StartRedis(b.dir)
	if err != nil {
		return err
	}
	defer server.Kill()
	timing := presence.Timing{Heartbeat: time.Second, Timeout: 2 * time.Second, Retention: time.Hour}
	where := config.Redis{RedisURL: server.URL}
	store, err := redisstore.New(redisstore.Options{Timing: timing, Redis: where, Shards: shards})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan local.Running, 1), make(chan error, 1)
	go func() {
		ended <- local.Run(ctx, local.Options{
			Config: config.Config{
				Timing: timing, Redis: where, Shards: shards, SweepFor: time.Minute, EventBus: "presence",
			},
			Addr: "127.0.0.1:0", Sweep: true, Logger: slog.New(slog.DiscardHandler),
		}, func(r local.Running) { ready <- r })
	}()
	var running local.Running
	select {
	case running = <-ready:
	case err := <-ended:
		return err
	}

	users := pick(b, 1500, 60)
	token, err := client.LocalToken(ctx, running.Endpoint, "watcher")
	if err != nil {
		return err
	}
	watcher, err := client.New(client.Options{Endpoint: running.Endpoint, Authorize: client.Token(token)})
	if err != nil {
		return err
	}
	var (
		mu        sync.Mutex
		deadlines = map[string]time.Time{}
		late      = newHistogram()
		all       = make(chan struct{})
	)
	const perConnection = 100
	subscribed := make(chan struct{})
	for from := 0; from < users; from += perConnection {
		var ids []string
		for n := from; n < min(from+perConnection, users); n++ {
			ids = append(ids, userID(n))
		}
		subscriber := client.Subscriber{
			Subscribed: func() { subscribed <- struct{}{} },
			Data: func(p presence.Presence) {
				now := time.Now()
				mu.Lock()
				defer mu.Unlock()
				// A message may come twice; the first is when the subscriber knows.
				if deadline, waiting := deadlines[p.UserID]; waiting && p.Status == presence.Offline {
					_ = late.RecordValue(now.Sub(deadline).Nanoseconds())
					delete(deadlines, p.UserID)
					if late.TotalCount() == int64(users) {
						close(all)
					}
				}
			},
		}
		// What it misses by failing is counted.
		go func() { _ = watcher.Subscribe(ctx, ids, subscriber) }()
		select {
		case <-subscribed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	// A whole minute, so that the schedule's own beat is in it.
	gap := time.NewTicker(pick(b, time.Minute, 2*time.Second) / time.Duration(users))
	defer gap.Stop()
	for n := range users {
		state, err := store.Touch(ctx, userID(n), "", page, presence.ReasonConnect)
		if err != nil {
			return err
		}
		mu.Lock()
		deadlines[userID(n)] = state.ExpiresAt.Time()
		mu.Unlock()
		if err := store.Acknowledge(ctx, userID(n), state.Note); err != nil {
			return err
		}
		<-gap.C
	}
	select {
	case <-all:
	case <-time.After(30 * time.Second):
	}
	mu.Lock()
	defer mu.Unlock()
	r := summary(time.Second, late)
	b.add(figure{"detection/p50", millis(r.P50), "ms", 0, atMost(1000)})
	b.add(figure{"detection/p99", millis(r.P99), "ms", 0, atMost(2000)})
	b.add(figure{"detection/unheard", float64(len(deadlines)), "users", 0, atMost(0)})
	stop()
	return <-ended
}
