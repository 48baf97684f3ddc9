package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/eventbus"
	"presence/internal/local/eventbridge"
	"presence/internal/testenv"
)

// measureSweep lets users time out all at once among many who stay online.
// The limit of an expiry is the AWS sample's: one transaction that takes the
// expired users out of one sorted set, and forgets them.
func measureSweep(ctx context.Context, b *bench) error {
	online := pick(b, 1_000_000, 20_000)
	bus, stop, err := startBus()
	if err != nil {
		return err
	}
	defer stop()
	w, err := newWorld(b, false, bus)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.sweepIdle(ctx, b, 0); err != nil {
		return err
	}
	if err := w.fill(ctx, 0, online, page, noSession); err != nil {
		return err
	}
	if err := w.sweepIdle(ctx, b, online); err != nil {
		return err
	}
	for _, due := range pick(b, []int{10_000, 100_000}, []int{2_000}) {
		if err := w.sweepDue(ctx, b, online, due); err != nil {
			return err
		}
	}
	return nil
}

// sweepIdle measures a pass that finds nobody due.
func (w *world) sweepIdle(ctx context.Context, b *bench, online int) error {
	var perShard []float64
	for range pick(b, 51, 5) {
		if err := w.resetStats(ctx); err != nil {
			return err
		}
		if _, err := w.store.Sweep(ctx); err != nil {
			return err
		}
		calls, usec, err := commandStats(ctx, w.raw, "evalsha")
		if err != nil {
			return err
		}
		perShard = append(perShard, usec/calls)
	}
	b.add(figure{fmt.Sprintf("sweep/online=%d/idle-shard", online), median(perShard, func(v float64) float64 { return v }), "µs", 0, target{}})
	return nil
}

// sweepDue measures a scheduled run that finds users due, and heartbeats
// meanwhile.
func (w *world) sweepDue(ctx context.Context, b *bench, online, due int) error {
	name := fmt.Sprintf("sweep/online=%d/due=%d/", online, due)
	limit, err := b.sampleSweep(ctx, online, due)
	if err != nil {
		return err
	}
	const beating = 8
	heartbeat := w.invoke(online, "Mutation.heartbeat", visit(page))
	calm, err := load(ctx, beating, pick(b, 5*time.Second, 500*time.Millisecond), heartbeat)
	if err != nil {
		return err
	}

	// First without heartbeats, so that Redis does nothing else.
	var rounds []sweepCost
	for range pick(b, 5, 3) {
		cost, err := w.sweepOnce(ctx, due)
		if err != nil {
			return err
		}
		rounds = append(rounds, cost)
	}
	b.add(figure{name + "redis-cpu", median(rounds, func(c sweepCost) float64 { return c.cpu }), "µs/expiry", limit, target{}})
	b.add(figure{name + "script-p99.9", median(rounds, func(c sweepCost) float64 { return c.long }), "ms", 0, atMost(2)})
	b.add(figure{name + "longest-script", median(rounds, func(c sweepCost) float64 { return c.longest }), "ms", 0, target{}})
	b.add(figure{name + "swept-and-published", median(rounds, func(c sweepCost) float64 { return c.took.Seconds() }), "s", 0, target{}})

	if err := w.age(ctx, due); err != nil {
		return err
	}
	sweeping, done := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		defer done()
		_, err := w.handler.Invoke(ctx, []byte(`{"detail-type":"Scheduled Event"}`))
		failed <- err
	}()
	during, err := load(sweeping, beating, time.Minute, heartbeat)
	if err != nil {
		return err
	}
	if err := <-failed; err != nil {
		return err
	}
	b.add(figure{name + "heartbeat-p99-meanwhile", micros(during.P99), "µs", micros(calm.P99), target{}})
	return w.revive(ctx)
}

// sweepCost is what a scheduled run cost.
type sweepCost struct {
	cpu           float64 // of Redis, µs an expiry
	long, longest float64 // script, ms: of a thousand the second longest, and of all
	took          time.Duration
}

// sweepOnce has users time out and a scheduled run find them.
func (w *world) sweepOnce(ctx context.Context, due int) (cost sweepCost, err error) {
	if err := w.age(ctx, due); err != nil {
		return cost, err
	}
	if err := w.resetStats(ctx); err != nil {
		return cost, err
	}
	before, err := redisCPU(ctx, w.raw)
	if err != nil {
		return cost, err
	}
	start := time.Now()
	if _, err := w.handler.Invoke(ctx, []byte(`{"detail-type":"Scheduled Event"}`)); err != nil {
		return cost, err
	}
	cost.took = time.Since(start)
	gone, err := w.gone(ctx)
	if err != nil {
		return cost, err
	}
	if gone != due {
		return cost, fmt.Errorf("%d users timed out, not %d", gone, due)
	}
	after, err := redisCPU(ctx, w.raw)
	if err != nil {
		return cost, err
	}
	cost.cpu = (after - before) / float64(due)
	if cost.long, cost.longest, err = w.longScripts(ctx); err != nil {
		return cost, err
	}
	return cost, w.revive(ctx)
}

// age makes the given number of users time out now, as many on each shard.
func (w *world) age(ctx context.Context, users int) error {
	now := time.Now()
	past := now.Add(-timing.Timeout).UnixMilli()
	for n, shard := range keys.Shards() {
		// All others beat now. Nor may it seem that the sweep was away, which gives
		// everybody another timeout.
		if err := move.Run(ctx, w.raw, []string{shard.Online, shard.Online}, 0, now.UnixMilli()).Err(); err != nil {
			return err
		}
		if err := w.raw.HSet(ctx, shard.Shard, "swept", now.UnixMilli(), "resumed", 0).Err(); err != nil {
			return err
		}
		share := users / shards
		if n < users%shards {
			share++
		}
		if err := move.Run(ctx, w.raw, []string{shard.Online, shard.Online}, share, past).Err(); err != nil {
			return err
		}
	}
	return nil
}

// gone returns how many users have timed out.
func (w *world) gone(ctx context.Context) (total int, err error) {
	for _, shard := range keys.Shards() {
		n, err := w.raw.ZCard(ctx, shard.LastSeen).Result()
		if err != nil {
			return 0, err
		}
		total += int(n)
	}
	return total, nil
}

// revive brings back those who timed out.
func (w *world) revive(ctx context.Context) error {
	now := time.Now().UnixMilli()
	for _, shard := range keys.Shards() {
		if err := move.Run(ctx, w.raw, []string{shard.LastSeen, shard.Online}, 0, now).Err(); err != nil {
			return err
		}
		if err := w.raw.Del(ctx, shard.LastSeen).Err(); err != nil {
			return err
		}
	}
	return w.forget(ctx)
}

// move adds members of one sorted set, the first of them or (0) all, to
// another, with a score.
var move = redis.NewScript(`
for _, user in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  redis.call('ZADD', KEYS[2], ARGV[2], user)
end
return 0`)

func (w *world) resetStats(ctx context.Context) error {
	_, err := w.raw.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ConfigResetStat(ctx)
		p.ConfigSet(ctx, "slowlog-log-slower-than", "200")
		p.ConfigSet(ctx, "slowlog-max-len", "10000")
		p.Do(ctx, "SLOWLOG", "RESET")
		return nil
	})
	return err
}

// longScripts returns how long in ms scripts took since the statistics were
// reset, by the slow log: the 99.9th percentile, and the longest. The log counts
// the time Redis waits for a CPU, too, so the longest tells more of the machine.
// What was quicker than 0.2 ms is zero.
func (w *world) longScripts(ctx context.Context) (p999, longest float64, err error) {
	calls, _, err := commandStats(ctx, w.raw, "evalsha")
	if err != nil {
		return 0, 0, err
	}
	entries, err := w.raw.SlowLogGet(ctx, -1).Result()
	slow := make([]float64, int(calls)/1000+1)
	for _, entry := range entries {
		slow = append(slow, millis(entry.Duration))
	}
	slices.Sort(slow)
	slices.Reverse(slow)
	return slow[int(calls)/1000], slow[0], err
}

// sampleSweep returns the µs of Redis' time an expiry takes the AWS sample.
func (b *bench) sampleSweep(ctx context.Context, online, due int) (float64, error) {
	server, err := testenv.StartRedis(b.dir)
	if err != nil {
		return 0, err
	}
	defer server.Kill()
	client := redis.NewClient(&redis.Options{Addr: server.Addr, DisableIdentity: true, ReadTimeout: time.Minute})
	defer client.Close()
	const batch = 1000
	for from := 0; from < online; from += batch {
		members := make([]redis.Z, batch)
		for i := range members {
			members[i] = redis.Z{Score: float64(from + i), Member: userID(from + i)}
		}
		if err := client.ZAdd(ctx, "presence", members...).Err(); err != nil {
			return 0, err
		}
	}
	before, err := redisCPU(ctx, client)
	if err != nil {
		return 0, err
	}
	past := fmt.Sprint(due - 1)
	_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRangeByScore(ctx, "presence", &redis.ZRangeBy{Min: "-inf", Max: past})
		p.ZRemRangeByScore(ctx, "presence", "-inf", past)
		return nil
	})
	if err != nil {
		return 0, err
	}
	after, err := redisCPU(ctx, client)
	return (after - before) / float64(due), err
}

// startBus starts the local EventBridge, without rules, and returns a
// publisher to it: what publishing costs, less the network.
func startBus() (presence.Publisher, func(), error) {
	bus, err := eventbridge.New(eventbridge.Options{})
	if err != nil {
		return nil, nil, err
	}
	server := httptest.NewServer(bus)
	client, err := eventbus.Client(func(name string) string {
		return map[string]string{
			"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
			"AWS_ENDPOINT_URL_EVENTBRIDGE": server.URL,
		}[name]
	})
	if err != nil {
		server.Close()
		return nil, nil, err
	}
	return eventbus.New(client, "presence"), server.Close, nil
}
