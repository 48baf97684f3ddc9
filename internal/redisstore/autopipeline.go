package redisstore

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// autopipeline is a hook that has the scripts of concurrent callers share round
// trips: the first go their own way; those that come while these are under
// way wait for one to return, and then go together in a pipeline. To write to a
// socket and to read from it costs Redis and its client more than most scripts
// do, so that many callers take a fraction of the CPU time. With one caller at a
// time, each script is sent at once.
//
// The AutoPipeline of go-redis is experimental, makes a caller who is alone
// slower, and keeps a caller whose context has ended until Redis answers.
type autopipeline struct {
	client *redis.Client

	mu      sync.Mutex
	trips   int // under way
	waiting []*waiter
}

// maxTrips is how many round trips are under way at once before callers share
// one. Two keep Redis and the callers at work at the same time: one is answered
// while the other is sent. With one, either side waits for the other. With four,
// eight callers share so little that they lose a tenth of their throughput.
const maxTrips = 2

// waiter is a caller's script. The command is a copy of the caller's, who may
// leave it behind.
type waiter struct {
	ctx  context.Context
	cmd  once
	done chan struct{}
}

// once disables go-redis' retry of a pipeline, which would run again the scripts
// that had succeeded.
type once struct{ *redis.Cmd }

// NoRetry implements [redis.Cmder].
func (once) NoRetry() bool { return true }

// newAutopipeline returns a hook, with the client it is a hook of.
func newAutopipeline(opts *redis.Options) *autopipeline {
	a := &autopipeline{client: redis.NewClient(opts)}
	a.client.AddHook(a)
	return a
}

// DialHook implements [redis.Hook].
func (a *autopipeline) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (a *autopipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements [redis.Hook]. A script is what is answered as a
// [redis.Cmd].
func (a *autopipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, ok := cmd.(*redis.Cmd)
		if !ok {
			return next(ctx, cmd)
		}
		w := a.join(ctx, script)
		if w == nil {
			defer a.leave()
			return next(ctx, cmd)
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if answer, err := w.cmd.Result(); answer != nil || errors.Is(err, redis.Nil) {
			script.SetVal(answer)
			return err
		}
		// What failed in company is tried again alone. go-redis knows what is worth
		// that, and a connection that was refused has left no error here.
		return next(ctx, cmd)
	}
}

// join returns nil if the script may go its own way, and otherwise what to wait
// for.
func (a *autopipeline) join(ctx context.Context, script *redis.Cmd) *waiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trips < maxTrips {
		a.trips++
		return nil
	}
	w := &waiter{ctx, once{redis.NewCmd(ctx, script.Args()...)}, make(chan struct{})}
	a.waiting = append(a.waiting, w)
	return w
}

// leave ends a caller's own round trip. If others wait, theirs begins.
func (a *autopipeline) leave() {
	if batch := a.next(); batch != nil {
		go a.send(batch)
	}
}

// next ends a round trip, or begins another with those it returns.
func (a *autopipeline) next() []*waiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	batch := a.waiting
	a.waiting = nil
	if batch == nil {
		a.trips--
	}
	return batch
}

// send makes round trips for as long as somebody waits. How long one takes at
// most is for the client's own timeouts to say.
func (a *autopipeline) send(batch []*waiter) {
	for ; batch != nil; batch = a.next() {
		pipe := a.client.Pipeline()
		for _, w := range batch {
			if w.ctx.Err() == nil {
				_ = pipe.Process(w.ctx, w.cmd)
			}
		}
		_, _ = pipe.Exec(context.Background()) // each looks at its own
		for _, w := range batch {
			close(w.done)
		}
	}
}
