package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"presence/internal/wire"
)

// measureAmong shows that a subscription costs the same however many others
// there are. It measures one among many against one among a hundred: how long
// it takes to subscribe, and from a connect until the message.
func measureAmong(ctx context.Context, b *bench) error {
	many := pick(b, 100_000, 2_000)
	var servers [2]*among
	for i, others := range []int{many, 100} {
		var err error
		if servers[i], err = b.among(ctx, others); err != nil {
			return err
		}
		defer servers[i].stop()
	}
	const name = "among/subscriptions="
	for _, measured := range []struct {
		name string
		op   func(*among) operation
	}{
		{"subscribe", func(a *among) operation { return a.subscribe }},
		{"message", func(a *among) operation { return a.message }},
	} {
		var rounds [2][]result
		for range pick(b, 9, 3) {
			for i, server := range servers {
				r, err := load(ctx, 1, pick(b, time.Second, 300*time.Millisecond), measured.op(server))
				if err != nil {
					return err
				}
				rounds[i] = append(rounds[i], r)
			}
		}
		p50 := func(r result) float64 { return micros(r.P50) }
		b.add(figure{name + strconv.Itoa(many) + "/" + measured.name + "/p50", median(rounds[0], p50), "µs", median(rounds[1], p50), ratioAtMost(1.2)})
	}
	return nil
}

// among is a local server with many subscriptions, and sockets to measure with:
// as many as it takes to stay below a socket's rate of messages. The first has
// a subscription to alice.
type among struct {
	graphQL
	conns  [32]*websocket.Conn
	cancel context.CancelFunc
	calls  int
}

// among starts a local server with that many subscriptions to other users.
func (b *bench) among(ctx context.Context, others int) (_ *among, err error) {
	g, err := b.localGraphQL(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &among{graphQL: g, cancel: cancel}
	defer func() {
		if err != nil {
			a.stop()
		}
	}()
	const perSocket = 100
	for from := 0; from < others; from += perSocket {
		conn, err := g.dial(ctx)
		if err != nil {
			return nil, err
		}
		for n := from; n < min(from+perSocket, others); n++ {
			if err := g.watch(ctx, conn, strconv.Itoa(n), userID(n)); err != nil {
				return nil, err
			}
		}
		// Nobody changes: what comes is for keeping alive.
		go func() {
			defer conn.CloseNow()
			for err := error(nil); err == nil; {
				_, _, err = conn.Read(ctx)
			}
		}()
	}
	for i := range a.conns {
		if a.conns[i], err = g.dial(ctx); err != nil {
			return nil, err
		}
	}
	return a, g.watch(ctx, a.conns[0], "alice", "alice")
}

func (a *among) stop() {
	a.cancel()
	a.process.stop()
}

// subscribe subscribes to one more user, and ends that.
func (a *among) subscribe(ctx context.Context, _, _ int) error {
	a.calls++
	id, conn := "more"+strconv.Itoa(a.calls), a.conns[a.calls%len(a.conns)]
	if err := a.watch(ctx, conn, id, id); err != nil {
		return err
	}
	return ask(ctx, conn, wire.Frame{Type: wire.TypeStop, ID: id}, wire.TypeComplete)
}

// message has alice open another page, and waits for the message.
func (a *among) message(ctx context.Context, _, _ int) error {
	a.calls++
	to := page
	to.URL += "&n=" + strconv.Itoa(a.calls)
	if err := a.connect(ctx, to); err != nil {
		return err
	}
	for heard := (wire.Frame{}); heard.Type != wire.TypeData; {
		if err := wsjson.Read(ctx, a.conns[0], &heard); err != nil {
			return fmt.Errorf("no message of alice: %w", err)
		}
	}
	return nil
}
