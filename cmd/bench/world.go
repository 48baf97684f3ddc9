package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/config"
	"presence/internal/metrics"
	"presence/internal/redisstore"
	"presence/internal/testenv"
	"presence/resolvers"
)

const (
	shards  = 16
	callers = 64 // the most at once, and the size of every connection pool
)

// world is a handler on a redis-server or a cluster, and a plain client beside
// it.
type world struct {
	store   *redisstore.Store
	handler *resolvers.Handler
	raw     redis.UniversalClient
	nodes   []*testenv.Server
	digests []byte // redisstore.UserDigest of each user filled, one after the other
	turns   []atomic.Uint32
}

// newWorld starts redis-servers, one or a cluster.
func newWorld(b *bench, cluster bool, publisher presence.Publisher) (*world, error) {
	w := &world{}
	var err error
	if cluster {
		w.nodes, err = testenv.StartRedisCluster(b.dir)
	} else {
		var node *testenv.Server
		node, err = testenv.StartRedis(b.dir)
		w.nodes = []*testenv.Server{node}
	}
	if err != nil {
		return nil, err
	}
	w.raw = redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: []string{w.nodes[0].Addr}, IsClusterMode: cluster, PoolSize: callers, DisableIdentity: true,
	})
	w.store, err = redisstore.New(redisstore.Options{
		Timing: timing, Shards: shards, PoolSize: callers,
		Redis: config.Redis{RedisURL: w.nodes[0].URL, RedisCluster: cluster},
	})
	if err != nil {
		w.close()
		return nil, err
	}
	w.handler = resolvers.New(resolvers.Options{
		Timing: timing, Store: w.store, Publisher: publisher,
		Metrics: metrics.NewEMF(io.Discard, nil),
		Logger:  slog.New(slog.DiscardHandler),
	})
	return w, nil
}

func (w *world) close() {
	if w.store != nil {
		_ = w.store.Close()
	}
	_ = w.raw.Close()
	for _, node := range w.nodes {
		node.Kill()
	}
}

// cpuTime returns the CPU time this process and Redis have used.
func (w *world) cpuTime() (time.Duration, error) {
	total, err := cpuTime(os.Getpid())
	for _, node := range w.nodes {
		used, nodeErr := cpuTime(node.Process().Pid)
		total, err = total+used, errors.Join(err, nodeErr)
	}
	return total, err
}

// fill brings the users numbered from to to-1 online, and their page up, with
// nothing left to announce.
func (w *world) fill(ctx context.Context, from, to int, page presence.Page, session func(int) string) error {
	for n := from; n < to; n++ {
		w.digests = append(w.digests, redisstore.UserDigest(userID(n))...)
	}
	w.turns = make([]atomic.Uint32, to)
	err := each(ctx, from, to, func(ctx context.Context, n int) error {
		_, err := w.store.Touch(ctx, presence.Beat{UserID: userID(n), SessionID: session(n), Page: page, Reason: presence.ReasonConnect})
		return err
	})
	if err != nil {
		return err
	}
	return w.forget(ctx)
}

// forget drops the notes of what is yet to be announced.
func (w *world) forget(ctx context.Context) error {
	for _, shard := range keys.Shards() {
		if err := w.raw.Del(ctx, shard.Outbox, shard.Notes).Err(); err != nil {
			return err
		}
	}
	return nil
}

// infoField returns a number of INFO.
func infoField(ctx context.Context, client redis.UniversalClient, section, field string) (value float64, err error) {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	_, text, _ = strings.Cut(text, "\n"+field+":")
	_, err = fmt.Sscan(text, &value)
	return value, err
}

// redisCPU returns the CPU time Redis' own thread has used, in µs.
func redisCPU(ctx context.Context, client redis.UniversalClient) (float64, error) {
	user, err := infoField(ctx, client, "cpu", "used_cpu_user_main_thread")
	if err != nil {
		return 0, err
	}
	system, err := infoField(ctx, client, "cpu", "used_cpu_sys_main_thread")
	return (user + system) * 1e6, err
}

// commandStats returns how often Redis ran a command, and for how many µs in
// all. One it did not run is an error.
func commandStats(ctx context.Context, client redis.UniversalClient, command string) (calls, usec float64, err error) {
	text, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, 0, err
	}
	_, text, _ = strings.Cut(text, "cmdstat_"+command+":")
	_, err = fmt.Sscanf(text, "calls=%g,usec=%g", &calls, &usec)
	return calls, usec, err
}

// keys are the store's.
var keys = redisstore.NewKeys("", shards)

// pageKey returns the key of user n's page. The digests are made beforehand: a
// limit needs none.
func (w *world) pageKey(shard *redisstore.ShardKeys, n int) string {
	const length = redisstore.UserDigestLength
	return shard.Page(string(w.digests[n*length : (n+1)*length]))
}

// turn says which of two pages user n goes to next: not the one of the last call.
func (w *world) turn(n int) uint32 { return w.turns[n].Add(1) % 2 }

// silent is a Publisher without a bus.
type silent struct{}

func (silent) Publish(context.Context, []presence.Event) (int, error) { return 0, nil }

// userID returns the id of user n: 36 characters, as Cognito's are.
func userID(n int) string { return fmt.Sprintf("%08x-5f3a-4c1e-9b7d-%012x", uint32(n)*2654435761, n) }

// The pages of the benchmark: 115 bytes of URL and title, and another.
var (
	page = presence.Page{
		URL:   "https://www.example.com/products/garden/furniture/chairs/47?colour=teak",
		Title: "Teak chair, folding - Garden furniture - Ex.",
	}
	otherPage = presence.Page{URL: page.URL + "&x", Title: page.Title}
)

func noSession(int) string { return "" }

// event returns what the resolver sends the function of a user's call, up to the
// user's id and from there on. A query has the id among its arguments, as USER.
func event(field, arguments string) (head, tail string) {
	caller := "USER"
	if strings.Contains(arguments, caller) {
		caller = "1d6f2a9c-5f3a-4c1e-9b7d-000000000000"
	}
	text := fmt.Sprintf(`{"field":%q,"arguments":%s,"caller":{"mode":"user","id":%q}}`, field, arguments, caller)
	head, tail, _ = strings.Cut(text, "USER")
	return head, tail
}

// visit returns the arguments of connect and heartbeat.
func visit(p presence.Page) string { return fmt.Sprintf(`{"url":%q,"title":%q}`, p.URL, p.Title) }
