// Package redisstore keeps presence in Redis.
//
// Every operation is a script that runs within one slot of a cluster; [Keys] says
// what the keys hold. An operation takes one round trip, and a heartbeat that
// changes something takes two. Concurrent callers share round trips. Pages may be
// kept in a Redis of their own (see pages.go).
//
// The time is Redis' own, so all callers share one clock. It needs
// Redis 6.2, Valkey 7.2 or later.
package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"presence"
	"presence/internal/config"
)

// Options configure a [Store].
type Options struct {
	presence.Timing
	config.Redis
	// Shards is how many parts the users are spread over.
	Shards int
	// Prefix begins every key. Empty means [DefaultPrefix].
	Prefix string
	// Lease is how long a note is left alone before it is announced again, the
	// first time. Zero means 5 seconds.
	Lease time.Duration
	// Away is how long sweeps may pause before the platform is taken to have been
	// down. Zero means what a missed heartbeat takes to show: the timeout less the
	// heartbeat.
	Away time.Duration
	// Batch is how many users one script expires, and announces, at most. Zero means
	// 25, which keeps Redis busy for a quarter of a millisecond.
	Batch int
	// PoolSize is the most connections to each Redis. Zero means go-redis'
	// default, ten for each CPU.
	PoolSize int
	// Credentials returns the user name and password of a new connection. Nil
	// means those of the URL.
	Credentials func(context.Context) (username, password string, err error)
}

// longestLease is how long a note waits at most until it is tried again.
const longestLease = time.Minute

// Store is a [presence.Store] on one or two Redis. It is safe for concurrent
// use.
type Store struct {
	opts  Options
	redis redis.UniversalClient
	pages *pageStore // nil: pages are beside the presence
	keys  Keys
}

var _ presence.Store = (*Store)(nil)

// New returns a Store. It does not connect yet; [Store.Ping] does.
func New(opts Options) (*Store, error) {
	opts.Lease = cmp.Or(opts.Lease, 5*time.Second)
	opts.Away = cmp.Or(opts.Away, opts.Timeout-opts.Heartbeat)
	opts.Batch = cmp.Or(opts.Batch, 25)
	client, err := connect(opts, opts.RedisURL)
	if err != nil {
		return nil, err
	}
	pages, err := newPageStore(opts)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Store{opts, client, pages, NewKeys(opts.Prefix, opts.Shards)}, nil
}

// Ping reports whether Redis can be reached.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.redis.Ping(ctx).Err(); err != nil {
		return failed("ping", err)
	}
	return failed("ping", s.pages.ping(ctx))
}

// Close closes the connections.
func (s *Store) Close() error { return errors.Join(s.redis.Close(), s.pages.close()) }

// beatArgs are what the scripts get of a beat.
type beatArgs struct {
	user          user
	session, page string // the session's digest, the page as it is kept
	pageChanged   bool   // in the Redis of the pages
	reason        presence.Reason
}

// Touch implements [presence.Store].
func (s *Store) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	args := beatArgs{user: s.keys.user(b.UserID), session: sessionDigest(b.SessionID), reason: b.Reason}
	args.page = pageText(args.session, b.Page)
	if err := s.pages.show(ctx, &args); err != nil {
		return presence.State{}, err
	}
	if b.Reason == presence.ReasonHeartbeat && !args.pageChanged {
		beat, err := s.beat(ctx, &args)
		if !errors.Is(err, redis.Nil) {
			return presence.State{Presence: s.presenceOf(b.UserID, beat), Reason: b.Reason}, failed("beat", err)
		}
	}
	written, err := s.touch(ctx, &args)
	if err != nil {
		return presence.State{}, failed("touch", err)
	}
	if err := s.pages.settle(ctx, &args, &written); err != nil {
		return presence.State{}, err
	}
	return s.written(b.UserID, b.Reason, written), nil
}

// beat records a heartbeat that changes nothing. It fails with [redis.Nil] if the
// heartbeat does.
func (s *Store) beat(ctx context.Context, b *beatArgs) (userReply, error) {
	keys := s.userKeys(b.user, b.user.Online, b.user.Shard)
	value, err := beatScript.Run(ctx, s.redis, keys, b.user.id, b.session, s.opts.Timeout.Milliseconds(), b.page).Result()
	if err != nil {
		return userReply{}, err
	}
	return beatReply(value, b.page, s.opts.Timeout)
}

// touch records a beat, whatever it changes.
func (s *Store) touch(ctx context.Context, b *beatArgs) (writeReply, error) {
	u, pageChanged := b.user, "0"
	if b.pageChanged {
		pageChanged = "1"
	}
	values, err := touchScript.Run(ctx, s.redis, s.userKeys(u, u.Online, u.Shard, u.LastSeen, u.Notes, u.Outbox),
		u.id, b.session, string(b.reason), s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds(), b.page, pageChanged).Slice()
	r := reply{rest: values, err: err}
	written := r.write()
	return written, r.err
}

// Leave implements [presence.Store].
func (s *Store) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	u, session := s.keys.user(l.UserID), sessionDigest(l.SessionID)
	shown, err := s.pages.hide(ctx, u, session, l.GraceMs)
	if err != nil {
		return presence.State{}, err
	}
	values, err := leaveScript.Run(ctx, s.redis, s.userKeys(u, u.Online, u.Shard, u.LastSeen, u.Notes, u.Outbox),
		u.id, session, l.GraceMs, s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds()).Slice()
	r := reply{rest: values, err: err}
	written := r.write()
	if s.pages != nil {
		written.page = shown
	}
	return s.written(l.UserID, presence.ReasonDisconnect, written), failed("leave", r.err)
}

// userKeys returns some of the shard's keys, the user's sessions, and the user's
// page unless pages are in another Redis.
func (s *Store) userKeys(u user, shard ...string) []string {
	keys := append(make([]string, 0, 7), shard...)
	keys = append(keys, u.sessions())
	if s.pages == nil {
		keys = append(keys, u.page())
	}
	return keys
}

// Status implements [presence.Store]. It is one script a shard, in one pipeline.
func (s *Store) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	states := make([]presence.State, len(userIDs))
	var err error
	if len(userIDs) == 1 {
		states[0], err = s.status(ctx, userIDs[0])
	} else {
		err = s.statuses(ctx, userIDs, states)
	}
	if err != nil {
		return nil, failed("status", err)
	}
	return states, s.pages.read(ctx, s.keys, states)
}

// status reads one user.
func (s *Store) status(ctx context.Context, userID string) (presence.State, error) {
	shard := s.keys.ShardOf(userID)
	keys := append(make([]string, 0, 5), shard.Online, shard.Shard, shard.LastSeen, shard.Notes)
	if s.pages == nil {
		keys = append(keys, shard.Page(UserDigest(userID)))
	}
	values, err := statusScript.Run(ctx, s.redis, keys, userID, s.opts.Timeout.Milliseconds()).Slice()
	r := reply{rest: values, err: err}
	status := r.status()
	return s.read(userID, status), r.err
}

// query reads the users of one shard.
type query struct {
	shard *ShardKeys
	keys  []string
	args  []any
	which []int // the users, as indices
	reply *redis.Cmd
}

// statuses reads users into states, which are in the same order.
func (s *Store) statuses(ctx context.Context, userIDs []string, states []presence.State) error {
	queries := s.queries(userIDs)
	// Errors are those of single commands, looked at below.
	_, _ = s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range queries {
			q := &queries[i]
			q.reply = statusesScript.EvalSha(ctx, p, q.keys, q.args...)
		}
		return nil
	})
	for _, q := range queries {
		if redis.HasErrorPrefix(q.reply.Err(), "NOSCRIPT") {
			q.reply = statusesScript.Eval(ctx, s.redis, q.keys, q.args...)
		}
		values, err := q.reply.Slice()
		r := reply{rest: values, err: err}
		for _, i := range q.which {
			states[i] = s.read(userIDs[i], r.status())
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// queries returns a query for each shard that has one of the users.
func (s *Store) queries(userIDs []string) (queries []query) {
	for i, id := range userIDs {
		u := s.keys.user(id)
		n := slices.IndexFunc(queries, func(q query) bool { return q.shard == u.ShardKeys })
		if n < 0 {
			n = len(queries)
			queries = append(queries, query{
				shard: u.ShardKeys,
				keys:  []string{u.Online, u.Shard, u.LastSeen, u.Notes},
				args:  []any{s.opts.Timeout.Milliseconds()},
			})
		}
		q := &queries[n]
		if s.pages == nil {
			q.keys = append(q.keys, u.page())
		}
		q.args = append(q.args, id)
		q.which = append(q.which, i)
	}
	return queries
}

// Acknowledge implements [presence.Store].
func (s *Store) Acknowledge(ctx context.Context, userID string, note presence.Time) error {
	shard := s.keys.ShardOf(userID)
	return failed("acknowledge", acknowledgeScript.Run(ctx, s.redis, []string{shard.Notes, shard.Outbox}, userID, int64(note)).Err())
}

// Sweep implements [presence.Store]. A few shards are swept at a time, each by a
// script of its own, so that heartbeats get their turn in between.
func (s *Store) Sweep(ctx context.Context) (presence.Sweep, error) {
	shards := s.keys.Shards()
	sweeps := make([]sweepReply, len(shards))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n := range shards {
		group.Go(func() (err error) {
			sweeps[n], err = s.sweep(groupCtx, &shards[n])
			return err
		})
	}
	err := group.Wait()
	total := presence.Sweep{Next: s.opts.Timeout}
	for _, sw := range sweeps {
		for _, due := range sw.due {
			total.Due = append(total.Due, s.read(due.userID, statusReply{due.userReply, due.note}))
		}
		if sw.next >= 0 {
			total.Next = min(total.Next, sw.next)
		}
		total.Expired += sw.expired
		total.Online += sw.online
		total.Unannounced += sw.notes
		total.Lag = max(total.Lag, sw.lag)
		total.OldestNote = max(total.OldestNote, sw.oldestNote)
	}
	return total, err
}

// sweep makes one pass over one shard.
func (s *Store) sweep(ctx context.Context, shard *ShardKeys) (sweepReply, error) {
	keys := []string{shard.Online, shard.Shard, shard.LastSeen, shard.Notes, shard.Outbox}
	values, err := sweepScript.Run(ctx, s.redis, keys,
		s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds(), longestLease.Milliseconds(),
		s.opts.Retention.Milliseconds(), s.opts.Away.Milliseconds(), s.opts.Batch).Slice()
	r := reply{rest: values, err: err}
	swept := r.sweep()
	return swept, failed("sweep", r.err)
}

// written returns the state that a write answers.
func (s *Store) written(userID string, reason presence.Reason, w writeReply) presence.State {
	state := presence.State{Presence: s.presenceOf(userID, w.userReply), Change: w.change, Reason: reason}
	if w.change != presence.NoChange {
		state.Note = w.asOf
	}
	return state
}

// read returns the state that a read answers.
func (s *Store) read(userID string, r statusReply) presence.State {
	return presence.State{Presence: s.presenceOf(userID, r.userReply), Note: r.note.asOf, Change: r.note.change, Reason: r.note.reason}
}

func (s *Store) presenceOf(userID string, r userReply) presence.Presence {
	p := presence.Presence{
		UserID:              userID,
		Status:              presence.Offline,
		AsOf:                r.asOf,
		LastSeen:            r.lastSeen,
		HeartbeatIntervalMs: s.opts.Heartbeat.Milliseconds(),
	}
	if r.expiresAt != 0 {
		p.Status, p.ExpiresAt = presence.Online, r.expiresAt
		p.URL, p.Title = parsePage(r.page)
	}
	return p
}

// failed turns an error of an operation into one for the caller, and nil into
// nil. A reply that is not as expected is a defect; everything else is a Redis
// out of reach.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	if redis.HasErrorPrefix(err, "OOM") {
		err = fmt.Errorf("the memory of Redis is full, nobody can come online until there is room: %w", err)
	}
	err = fmt.Errorf("redisstore: %s: %w", op, err)
	if errors.Is(err, errReply) {
		return err
	}
	return &presence.Error{
		Code:    presence.Unavailable,
		Message: "The presence store cannot be reached right now. Try again in a moment.",
		Err:     err,
	}
}
