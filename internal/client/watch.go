package client

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"presence"
)

// Watcher is told about users, one call at a time.
type Watcher struct {
	// Changed is called with each user's presence as it is first known, and
	// whenever its status or page has changed.
	Changed func(presence.Presence)
	// Interrupted is as in [Subscriber].
	Interrupted func(err error, retry time.Duration)
}

// Watch tells w the truth about users until ctx ends, and then returns nil. A
// subscription can miss changes, so Watch also queries: after every gap, and
// within about a minute once somebody's expiresAt has passed without a message.
// It returns an error as [Client.Subscribe] does.
func (c *Client) Watch(ctx context.Context, userIDs []string, w Watcher) error {
	if len(userIDs) == 0 {
		return presence.Errorf(presence.InvalidArgument, "There is nobody to watch: name at least one user.")
	}
	k := knowledge{users: make(map[string]known), changed: w.Changed}
	gap := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return c.Subscribe(ctx, userIDs, Subscriber{
			Subscribed: func() {
				select {
				case gap <- struct{}{}:
				default:
				}
			},
			Data:        k.learn,
			Interrupted: w.Interrupted,
		})
	})
	g.Go(func() error { return c.requery(ctx, userIDs, &k, gap) })
	return g.Wait()
}

const (
	// requeryEvery bounds how often an expiry is asked about.
	requeryEvery = time.Minute
	// requeryRetry is about how long to wait after a query that failed.
	requeryRetry = 2 * time.Second
)

// requery asks for all users after each gap, and after an expiry.
func (c *Client) requery(ctx context.Context, userIDs []string, k *knowledge, gap <-chan struct{}) error {
	timer := time.NewTimer(requeryEvery)
	defer timer.Stop()
	for asked := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-gap:
		case <-timer.C:
			if asked && !k.expired() {
				timer.Reset(requeryEvery)
				continue
			}
		}
		ps, err := c.Status(ctx, userIDs...)
		asked = err == nil
		switch {
		case ctx.Err() != nil:
			return nil
		case asked:
			for _, p := range ps {
				k.learn(p)
			}
			// Jitter, because other watchers wait for the same expiry.
			timer.Reset(requeryEvery + rand.N(requeryEvery/4))
		case presence.AsError(err).Code == presence.Unavailable:
			timer.Reset(requeryRetry/2 + rand.N(requeryRetry))
		default:
			return err
		}
	}
}

// knowledge is what a watcher knows. It is safe for concurrent use.
type knowledge struct {
	mu      sync.Mutex
	users   map[string]known
	changed func(presence.Presence)
}

type known struct {
	presence.Presence
	// expires is expiresAt by the local clock, which may be wrong: only durations
	// are taken from the server.
	expires time.Time
}

// learn takes p unless something newer is known.
func (k *knowledge) learn(p presence.Presence) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, found := k.users[p.UserID]
	if found && p.AsOf <= old.AsOf {
		return
	}
	k.users[p.UserID] = known{p, time.Now().Add(time.Duration(p.ExpiresAt-p.AsOf) * time.Millisecond)}
	if !found || p.Status != old.Status || text(p.URL) != text(old.URL) || text(p.Title) != text(old.Title) {
		k.changed(p)
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// expired says whether somebody known to be online should have been heard of
// by now.
func (k *knowledge) expired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, u := range k.users {
		if u.Status == presence.Online && time.Now().After(u.expires) {
			return true
		}
	}
	return false
}
