package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// measureMemory counts what Redis has allocated for a user who is online. The
// limits are the AWS sample's one sorted set, and that with each page as a
// plain string beside it.
func measureMemory(ctx context.Context, b *bench) error {
	for _, users := range pick(b, []int{100_000, 1_000_000}, []int{20_000}) {
		name := fmt.Sprintf("memory/users=%d/", users)
		sample, err := b.sampleMemory(ctx, users, presence.Page{})
		if err != nil {
			return err
		}
		withPage, err := b.sampleMemory(ctx, users, page)
		if err != nil {
			return err
		}
		store, all, err := b.userMemory(ctx, users, noSession)
		if err != nil {
			return err
		}
		b.add(figure{name + "presence", store, "bytes", sample, atMost(160)})
		b.add(figure{name + "presence-and-page", all, "bytes", withPage, atMost(420)})
		_, all, err = b.userMemory(ctx, users, func(n int) string { return userID(^n) })
		if err != nil {
			return err
		}
		b.add(figure{name + "presence-page-and-session", all, "bytes", withPage, atMost(600)})
	}
	return nil
}

// userMemory returns what a user takes in the presence store alone, and in all.
func (b *bench) userMemory(ctx context.Context, users int, session func(int) string) (store, all float64, err error) {
	w, err := newWorld(b, false, silent{})
	if err != nil {
		return 0, 0, err
	}
	defer w.close()
	before, err := usedMemory(ctx, w.raw)
	if err != nil {
		return 0, 0, err
	}
	if err := w.fill(ctx, 0, users, page, session); err != nil {
		return 0, 0, err
	}
	// Its connections' buffers are no user's.
	if err := w.store.Close(); err != nil {
		return 0, 0, err
	}
	w.store = nil
	for clients := math.Inf(1); clients > 1; {
		if clients, err = infoField(ctx, w.raw, "clients", "connected_clients"); err != nil {
			return 0, 0, err
		}
	}
	after, err := usedMemory(ctx, w.raw)
	if err != nil {
		return 0, 0, err
	}
	for _, shard := range keys.Shards() {
		n, err := w.raw.MemoryUsage(ctx, shard.Online, 0).Result()
		if err != nil {
			return 0, 0, err
		}
		store += float64(n)
	}
	return store / float64(users), (after - before) / float64(users), nil
}

// sampleMemory returns what a user takes in one sorted set, with a string
// beside it for the page, if there is one.
func (b *bench) sampleMemory(ctx context.Context, users int, page presence.Page) (float64, error) {
	server, err := testenv.StartRedis(b.dir)
	if err != nil {
		return 0, err
	}
	defer server.Kill()
	client := redis.NewClient(&redis.Options{Addr: server.Addr, DisableIdentity: true, ReadTimeout: time.Minute})
	defer client.Close()
	before, err := usedMemory(ctx, client)
	if err != nil {
		return 0, err
	}
	const batch = 1000
	for from := 0; from < users; from += batch {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := from; n < from+batch; n++ {
				p.ZAdd(ctx, "presence", redis.Z{Score: float64(time.Now().UnixMilli()), Member: userID(n)})
				if page.URL != "" {
					p.Set(ctx, userID(n), redisstore.PageText("", page), time.Hour)
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	after, err := usedMemory(ctx, client)
	return (after - before) / float64(users), err
}

func usedMemory(ctx context.Context, client redis.UniversalClient) (float64, error) {
	return infoField(ctx, client, "memory", "used_memory")
}
