package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
)

// pageStore keeps the pages in a Redis of their own. This file is all there is to
// that mode: what one script does elsewhere takes several here, in an order that
// leaves no change untold. A nil pageStore stands for pages beside the presence;
// its methods do nothing.
type pageStore struct {
	client redis.UniversalClient
	ttl    time.Duration
}

func newPageStore(opts Options) (*pageStore, error) {
	if opts.StatusRedisURL == "" || opts.StatusRedisURL == opts.RedisURL {
		return nil, nil
	}
	client, err := connect(opts, opts.StatusRedisURL)
	return &pageStore{client, opts.Timeout + pageOutlives}, err
}

// pageOutlives is how much longer a page lives than its session, so that nobody
// is online without one.
const pageOutlives = 2 * time.Millisecond

func (p *pageStore) ping(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.client.Ping(ctx).Err()
}

func (p *pageStore) close() error {
	if p == nil {
		return nil
	}
	return p.client.Close()
}

// show shows the page of a beat, before the beat is recorded. It sets the beat's
// page to what is shown, and whether that is a change.
func (p *pageStore) show(ctx context.Context, b *beatArgs) error {
	if p == nil {
		return nil
	}
	takeover := "0"
	if b.reason == presence.ReasonConnect {
		takeover = "1"
	}
	values, err := pageShowScript.Run(ctx, p.client, []string{b.user.page()}, b.session, b.page, p.ttl.Milliseconds(), takeover).Slice()
	if err != nil {
		return failed("show page", err)
	}
	r := reply{rest: values}
	b.page, b.pageChanged = r.text(), r.number() == 1
	return failed("show page", r.err)
}

// settle removes the mark of a changed page once the beat is recorded. Another tab
// may have shown its page meanwhile, so the answer has what is shown now.
func (p *pageStore) settle(ctx context.Context, b *beatArgs, w *writeReply) error {
	if p == nil || !b.pageChanged && b.reason != presence.ReasonConnect {
		return nil
	}
	shown, err := pageSettleScript.Run(ctx, p.client, []string{b.user.page()}, b.page).Text()
	if err != nil && !errors.Is(err, redis.Nil) {
		return failed("settle page", err)
	}
	w.page = shown
	return nil
}

// hide removes a session's page, after its grace, and returns the page shown now.
func (p *pageStore) hide(ctx context.Context, u user, session string, graceMs int64) (shown string, err error) {
	if p == nil {
		return "", nil
	}
	shown, err = pageHideScript.Run(ctx, p.client, []string{u.page()}, session, graceMs).Text()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return shown, failed("hide page", err)
}

// read adds the pages to states. Pages are read after the presence, so that a
// page is never older than its asOf.
func (p *pageStore) read(ctx context.Context, keys Keys, states []presence.State) error {
	if p == nil {
		return nil
	}
	replies := make([]*redis.StringCmd, len(states))
	_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range states {
			replies[i] = pipe.Get(ctx, keys.user(states[i].UserID).page())
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return failed("read pages", err)
	}
	for i := range states {
		if states[i].Status == presence.Online {
			states[i].URL, states[i].Title = parsePage(replies[i].Val())
		}
	}
	return nil
}
