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

	"presence/internal/testenv"
)

const crowd = 64

// outcome is what one of a crowd got.
type outcome struct {
	n, answer int
	err       error
}

// gathering is a crowd that runs a script each while Redis stands still: some
// are under way, and all others wait to share a round trip.
type gathering struct {
	t        *testing.T
	server   *testenv.Server
	hook     *autopipeline
	admin    *redis.Client
	outcomes chan outcome
}

// gather gathers a crowd, who wait in the order of their numbers. Only those who
// wait heed ctx.
func gather(ctx context.Context, t *testing.T, db int, script string) *gathering {
	t.Helper()
	server := testenv.Redis(t)
	g := &gathering{
		t, server, newAutopipeline(&redis.Options{
			Addr: server.Addr, DB: db, DisableIdentity: true, MaxRetries: 1,
			// However long it takes to gather, nobody gives up and tries again.
			DialTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
		}),
		redis.NewClient(&redis.Options{Addr: server.Addr}), make(chan outcome, crowd),
	}
	t.Cleanup(func() { g.hook.client.Close() })
	t.Cleanup(func() { g.admin.Close() })
	if err := g.admin.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGSTOP)
	call := func(ctx context.Context, n int) {
		answer, err := g.hook.client.Eval(ctx, script, []string{"runs"}, n).Int()
		g.outcomes <- outcome{n, answer, err}
	}
	for n := range maxTrips {
		go call(t.Context(), n)
	}
	g.await(maxTrips, 0)
	for n := maxTrips; n < crowd; n++ {
		go call(ctx, n)
		g.await(maxTrips, n-maxTrips+1)
	}
	return g
}

func (g *gathering) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.server.Process().Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// await waits until so many round trips are under way and so many wait.
func (g *gathering) await(trips, waiting int) {
	g.t.Helper()
	testenv.Eventually(g.t, time.Minute, func() error {
		g.hook.mu.Lock()
		defer g.hook.mu.Unlock()
		if g.hook.trips != trips || len(g.hook.waiting) != waiting {
			return fmt.Errorf("%d round trips under way and %d callers waiting; want %d and %d", g.hook.trips, len(g.hook.waiting), trips, waiting)
		}
		return nil
	})
}

// info returns a line of INFO once nothing is under way any more.
func (g *gathering) info(section, line string) string {
	g.t.Helper()
	g.await(0, 0)
	info, err := g.admin.InfoMap(g.t.Context(), section).Result()
	if err != nil {
		g.t.Fatal(err)
	}
	return info[strings.ToUpper(section[:1])+section[1:]][line]
}

// Scripts that meet share a round trip, and every caller gets the own answer.
func TestAutopipeline(t *testing.T) {
	t.Parallel()
	g := gather(t.Context(), t, 0, `return tonumber(ARGV[1])`)
	g.signal(syscall.SIGCONT)
	for range crowd {
		if o := <-g.outcomes; o.err != nil || o.answer != o.n {
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
	// Those under way, the rest, and what each of their connections begins with; each
	// on its own would be at least as many as they are.
	if reads, err := strconv.Atoi(g.info("stats", "total_reads_processed")); err != nil || reads > crowd/2 {
		t.Errorf("Redis read %d times from the network (%v)", reads, err)
	}
}

// A script that fails is tried again as if it had been alone, and has no other
// run twice.
func TestAutopipelineFailure(t *testing.T) {
	t.Parallel()
	fails := func(n int) bool { return n%2 == 0 } // the first of those who wait, too
	g := gather(t.Context(), t, 0, `
		if ARGV[1] % 2 == 0 then return redis.error_reply('TRYAGAIN ' .. ARGV[1]) end
		redis.call('INCR', KEYS[1])
		return tonumber(ARGV[1])`)
	g.signal(syscall.SIGCONT)
	for range crowd {
		o := <-g.outcomes
		if fails(o.n) && (o.err == nil || o.err.Error() != fmt.Sprint("TRYAGAIN ", o.n)) || !fails(o.n) && (o.err != nil || o.answer != o.n) {
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
	if runs, err := g.admin.Get(t.Context(), "runs").Int(); err != nil || runs != crowd/2 {
		t.Errorf("%d scripts ran %d times (%v)", crowd/2, runs, err)
	}
}

// Everybody is told of a connection that Redis refuses.
func TestAutopipelineRefused(t *testing.T) {
	t.Parallel()
	g := gather(t.Context(), t, 99, `return tonumber(ARGV[1])`)
	g.signal(syscall.SIGCONT)
	for range crowd {
		if o := <-g.outcomes; o.err == nil || !strings.Contains(o.err.Error(), "DB index") {
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
}

// A caller whose context ends need not wait for Redis, and what has not been
// sent by then is not done later.
func TestAutopipelineContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	g := gather(ctx, t, 0, `return tonumber(ARGV[1])`)
	cancel()
	for range crowd - maxTrips {
		if o := <-g.outcomes; !errors.Is(o.err, context.Canceled) {
			t.Errorf("%d got %d, %v", o.n, o.answer, o.err)
		}
	}
	g.signal(syscall.SIGCONT)
	for range maxTrips {
		if o := <-g.outcomes; o.err != nil || o.answer != o.n {
			t.Errorf("%d, under way already, got %d, %v", o.n, o.answer, o.err)
		}
	}
	if eval := g.info("commandstats", "cmdstat_eval"); !strings.HasPrefix(eval, fmt.Sprintf("calls=%d,", maxTrips)) {
		t.Errorf("Redis was to run %d scripts: %s", maxTrips, eval)
	}
}
