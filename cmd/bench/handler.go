package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/redisstore"
)

// measureHandler holds the handler against go-redis doing the same job with
// the fewest commands, in the fewest round trips, that do it at all.
//
// A heartbeat has to see whether the user was gone, by one clock and before
// anybody else writes, so the least is a script, here of four commands. What it
// leaves out is what only some beats need: sessions, and a clock that steps
// back. A read needs no script, only the five commands that say what is in an
// answer. The heartbeat is also held against plain commands in a pipeline, which
// cannot do the job, to show what being correct costs; and the store against
// the limit by itself, to show what JSON costs.
func measureHandler(ctx context.Context, b *bench) error {
	w, err := newWorld(b, false, silent{})
	if err != nil {
		return err
	}
	defer w.close()
	users := 10_000
	if err := w.fill(ctx, 0, users, page, noSession); err != nil {
		return err
	}
	for _, job := range []struct {
		name         string
		ours, least  operation
		store, plain operation // nil: not measured
		replayed     bool
		alone, eight target // p50 of one caller, throughput of eight
	}{
		{"heartbeat", w.invoke(users, "Mutation.heartbeat", visit(page)), w.leastHeartbeat(users), w.touch(users), w.plainHeartbeat(users), true, ratioAtMost(1.15), ratioAtLeast(0.85)},
		{"status", w.invoke(users, "Query.status", `{"userId":"USER"}`), w.leastStatus(users), w.status(users), nil, true, ratioAtMost(1.3), ratioAtLeast(0.65)},
		{"connect", w.alternate(users), w.leastConnect(users), nil, nil, false, ratioAtMost(1.2), ratioAtLeast(0.8)},
	} {
		ops := []operation{job.ours, job.least}
		for _, op := range []operation{job.store, job.plain} {
			if op != nil {
				ops = append(ops, op)
			}
		}
		var command []string
		if job.replayed {
			if command, err = w.recorded(ctx, job.ours); err != nil {
				return err
			}
		}
		for _, n := range []int{1, 8, 64} {
			r, err := w.race(ctx, b, n, ops...)
			if err != nil {
				return err
			}
			ours, least := r[0], r[1]
			name := fmt.Sprintf("%s/callers=%d/", job.name, n)
			var p50, throughput, tail target
			switch n {
			case 1:
				p50 = job.alone
			case 8:
				throughput = job.eight
			case 64:
				throughput, tail = ratioAtLeast(0.9), ratioAtMost(1.5)
			}
			b.add(figure{name + "throughput", ours.Rate, "calls/s", least.Rate, throughput})
			b.add(figure{name + "p50", micros(ours.P50), "µs", micros(least.P50), p50})
			b.add(figure{name + "p99", micros(ours.P99), "µs", micros(least.P99), tail})
			b.add(figure{name + "cpu", micros(ours.CPU), "µs/call", micros(least.CPU), target{}})
			if job.store != nil {
				b.add(figure{name + "store-alone", r[2].Rate, "calls/s", least.Rate, target{}})
			}
			if job.plain != nil {
				b.add(figure{name + "of-plain-commands", ours.Rate, "calls/s", r[3].Rate, target{}})
			}
			if command != nil {
				rate, err := w.redisBenchmark(ctx, n, pick(b, 2*time.Second, 200*time.Millisecond), least.Rate, command)
				if err != nil {
					return err
				}
				b.add(figure{name + "of-redis-benchmark", ours.Rate, "calls/s", rate, target{}})
			}
		}
	}
	return nil
}

// invoke calls the handler for any of the users.
func (w *world) invoke(users int, field, arguments string) operation {
	say := w.sayer(field, arguments)
	return func(ctx context.Context, caller, _ int) error { return say(ctx, caller, rand.IntN(users)) }
}

// sayer returns a function that calls the handler for user n.
func (w *world) sayer(field, arguments string) func(ctx context.Context, caller, n int) error {
	head, tail := event(field, arguments)
	var payloads [callers][]byte
	return func(ctx context.Context, caller, n int) error {
		payload := append(payloads[caller][:0], head...)
		payload = append(payload, userID(n)...)
		payload = append(payload, tail...)
		payloads[caller] = payload
		_, err := w.handler.Invoke(ctx, payload)
		return err
	}
}

// alternate connects each user to one page and the other in turns, so that
// every call is a change.
func (w *world) alternate(users int) operation {
	connect := []func(context.Context, int, int) error{
		w.sayer("Mutation.connect", visit(page)),
		w.sayer("Mutation.connect", visit(otherPage)),
	}
	return func(ctx context.Context, caller, _ int) error {
		n := rand.IntN(users)
		return connect[w.turn(n)](ctx, caller, n)
	}
}

// touch and status call the store as the handler does.
func (w *world) touch(users int) operation {
	return func(ctx context.Context, _, _ int) error {
		_, err := w.store.Touch(ctx, presence.Beat{UserID: userID(rand.IntN(users)), SessionID: "", Page: page, Reason: presence.ReasonHeartbeat})
		return err
	}
}

func (w *world) status(users int) operation {
	return func(ctx context.Context, _, _ int) error {
		_, err := w.store.Status(ctx, []string{userID(rand.IntN(users))})
		return err
	}
}

var leastBeat = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local beat = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
local shown = redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3], 'GET')
if KEYS[3] then
  redis.call('ZADD', KEYS[3], string.format('%.0f', now + 5000), ARGV[1])
  redis.call('HSET', KEYS[4], ARGV[1], string.format('%.0f', now) .. ' changed connect')
end
return { beat, shown }`)

func (w *world) leastHeartbeat(users int) operation {
	text, ttl := redisstore.PageText("", page), timing.Timeout.Milliseconds()
	return func(ctx context.Context, _, _ int) error {
		n := rand.IntN(users)
		user := userID(n)
		shard := keys.ShardOf(user)
		return leastBeat.Run(ctx, w.raw, []string{shard.Online, w.pageKey(shard, n)}, user, text, ttl).Err()
	}
}

func (w *world) plainHeartbeat(users int) operation {
	text := redisstore.PageText("", page)
	return func(ctx context.Context, _, _ int) error {
		n := rand.IntN(users)
		user := userID(n)
		shard := keys.ShardOf(user)
		_, err := w.raw.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.ZAdd(ctx, shard.Online, redis.Z{Score: float64(time.Now().UnixMilli()), Member: user})
			p.SetArgs(ctx, w.pageKey(shard, n), text, redis.SetArgs{Get: true, TTL: timing.Timeout})
			return nil
		})
		return err
	}
}

func (w *world) leastStatus(users int) operation {
	return func(ctx context.Context, _, _ int) error {
		n := rand.IntN(users)
		user := userID(n)
		shard := keys.ShardOf(user)
		_, err := w.raw.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Time(ctx)                         // is it past
			p.ZScore(ctx, shard.Online, user)   // expiresAt?
			p.HGet(ctx, shard.Shard, "clock")   // asOf
			p.ZScore(ctx, shard.LastSeen, user) // lastSeen
			p.Get(ctx, w.pageKey(shard, n))     // url, title
			return nil
		})
		if errors.Is(err, redis.Nil) { // not there, as lastSeen is not of those online
			err = nil
		}
		return err
	}
}

// leastConnect also writes the note that makes announcing reliable.
func (w *world) leastConnect(users int) operation {
	texts, ttl := []string{redisstore.PageText("", page), redisstore.PageText("", otherPage)}, timing.Timeout.Milliseconds()
	return func(ctx context.Context, _, _ int) error {
		n := rand.IntN(users)
		user := userID(n)
		shard := keys.ShardOf(user)
		with := []string{shard.Online, w.pageKey(shard, n), shard.Outbox, shard.Notes}
		return leastBeat.Run(ctx, w.raw, with, user, texts[w.turn(n)], ttl).Err()
	}
}

// recorded returns the command an operation sends.
func (w *world) recorded(ctx context.Context, op operation) ([]string, error) {
	conn, err := net.Dial("tcp", w.nodes[0].Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		return nil, err
	}
	if _, err := lines.ReadString('\n'); err != nil {
		return nil, err
	}
	if err := op(ctx, 0, 0); err != nil {
		return nil, err
	}
	line, err := lines.ReadString('\n')
	if err != nil {
		return nil, err
	}
	_, words, _ := strings.Cut(strings.TrimSpace(line), "] ")
	var command []string
	for words != "" {
		quoted, err := strconv.QuotedPrefix(words)
		if err != nil {
			return nil, fmt.Errorf("MONITOR shows %q: %w", line, err)
		}
		word, _ := strconv.Unquote(quoted)
		command = append(command, word)
		words = strings.TrimPrefix(words[len(quoted):], " ")
	}
	return command, nil
}

// redisBenchmark has redis-benchmark send a command and returns its rate.
func (w *world) redisBenchmark(ctx context.Context, callers int, while time.Duration, rate float64, command []string) (float64, error) {
	host, port, _ := strings.Cut(w.nodes[0].Addr, ":")
	args := []string{"-h", host, "-p", port, "-c", strconv.Itoa(callers), "-n", strconv.Itoa(int(rate * while.Seconds())), "--csv"}
	out, err := exec.CommandContext(ctx, "redis-benchmark", append(args, command...)...).Output()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w", err)
	}
	if len(rows) != 2 {
		return 0, fmt.Errorf("redis-benchmark answers %q", out)
	}
	return strconv.ParseFloat(rows[1][1], 64)
}
