package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presence/internal/redistest"
)

const crowd = 64

// outcome is what one of a crowd got.
type outcome struct {
	n, answer int
	err       error
}

// gather has a crowd run a script each while Redis stands still, and returns
// once all but those under way wait to share a round trip. Only those who wait
// heed ctx.
func gather(ctx context.Context, t *testing.T, script string) (outcomes <-chan outcome, letGo func(), admin *redis.Client) {
	t.Helper()
	server := redistest.Start(t)
	admin = redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { admin.Close() })
	if err := admin.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Process().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hook := newAutopipeline(&redis.Options{Addr: server.Addr, DisableIdentity: true})
	t.Cleanup(func() { hook.client.Close() })
	all := make(chan outcome, crowd)
	call := func(ctx context.Context, n int) {
		answer, err := hook.client.Eval(ctx, script, nil, n).Int()
		all <- outcome{n, answer, err}
	}
	await := func(trips, waiting int) {
		for {
			hook.mu.Lock()
			reached := hook.trips == trips && len(hook.waiting) == waiting
			hook.mu.Unlock()
			if reached {
				return
			}
			redistest.Pause(time.Millisecond)
		}
	}
	for n := range maxTrips {
		go call(t.Context(), n)
	}
	await(maxTrips, 0)
	for n := maxTrips; n < crowd; n++ {
		go call(ctx, n)
	}
	await(maxTrips, crowd-maxTrips)
	return all, func() {
		if err := server.Process().Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}, admin
}

// Scripts that meet share a round trip, and every caller gets the own answer or
// the own error.
func TestAutopipeline(t *testing.T) {
	t.Parallel()
	outcomes, letGo, admin := gather(t.Context(), t, `return ARGV[1] == '7' and redis.error_reply('no seven') or tonumber(ARGV[1])`)
	letGo()
	for range crowd {
		switch o := <-outcomes; {
		case o.n == 7:
			if o.err == nil || !strings.Contains(o.err.Error(), "no seven") {
				t.Errorf("7 got %d, %v", o.answer, o.err)
			}
		case o.err != nil || o.answer != o.n:
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
	stats, err := admin.InfoMap(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	// Those under way, the rest, and what each of their connections begins with; each
	// on its own would be at least as many as they are.
	if reads, err := strconv.Atoi(stats["Stats"]["total_reads_processed"]); err != nil || reads > crowd/2 {
		t.Errorf("Redis read %d times from the network (%v)", reads, err)
	}
}

// A caller whose context ends need not wait for Redis, and what has not been
// sent by then is not done later.
func TestAutopipelineContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	outcomes, letGo, admin := gather(ctx, t, `return tonumber(ARGV[1])`)
	cancel()
	for range crowd - maxTrips {
		if o := <-outcomes; !errors.Is(o.err, context.Canceled) {
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
	letGo()
	for range maxTrips {
		if o := <-outcomes; o.err != nil || o.answer != o.n {
			t.Errorf("%d, under way already, got %d, %v", o.n, o.answer, o.err)
		}
	}
	stats, err := admin.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	if eval := stats["Commandstats"]["cmdstat_eval"]; !strings.HasPrefix(eval, fmt.Sprintf("calls=%d,", maxTrips)) {
		t.Errorf("Redis was to run %d scripts: %s", maxTrips, eval)
	}
}
