// Package redisstore keeps presence in Redis.
//
// Users are spread over shards; the keys of a shard and of its users share a
// hash tag, so that every script runs within one slot of a cluster. What the
// keys hold is written at the head of lua/lib.lua and lua/touch.lua. Page info
// may be kept in a Redis of its own; by default it is in the same one, and then
// every operation is one script and one round trip, but for a heartbeat that
// changes something, which is two. Concurrent callers share round trips.
//
// The time is Redis' own, so all callers share one clock. Redis 6.2 or Valkey
// 7.2 and later will do.
package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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
	// Prefix begins every key. Empty means "p", so short because every user online
	// pays for it.
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
	opts     Options
	presence redis.UniversalClient
	pages    redis.UniversalClient // nil: the same Redis, pages go with the scripts
	shards   []shard
}

var _ presence.Store = (*Store)(nil)

// shard is a shard's keys, in the order of lua/lib.lua.
type shard struct {
	tag  string
	keys [5]string
}

// New returns a Store. It does not connect yet; [Store.Ping] does.
func New(opts Options) (*Store, error) {
	opts.Prefix = cmp.Or(opts.Prefix, "p")
	opts.Lease = cmp.Or(opts.Lease, 5*time.Second)
	opts.Away = cmp.Or(opts.Away, opts.Timeout-opts.Heartbeat)
	opts.Batch = cmp.Or(opts.Batch, 25)
	s := &Store{opts: opts, shards: make([]shard, opts.Shards)}
	for i := range s.shards {
		tag := fmt.Sprintf("%s{%d}", opts.Prefix, i)
		s.shards[i] = shard{tag, [5]string{tag + ":online", tag + ":shard", tag + ":lastseen", tag + ":notes", tag + ":outbox"}}
	}
	var err error
	if s.presence, err = connect(opts, opts.RedisURL); err != nil {
		return nil, err
	}
	if opts.StatusRedisURL != "" && opts.StatusRedisURL != opts.RedisURL {
		s.pages, err = connect(opts, opts.StatusRedisURL)
	}
	return s, err
}

// connect returns a client whose errors come quickly: a caller waits for the
// answer, and the next beat is a retry.
func connect(opts Options, url string) (redis.UniversalClient, error) {
	parsed, err := redis.ParseURL(url)
	if err != nil {
		// The cause may hold the URL's password.
		return nil, presence.Errorf(presence.InvalidArgument, "The Redis URL is not of the form redis://user:password@host:port/db or rediss://….")
	}
	common := redis.UniversalOptions{
		Addrs:                      []string{parsed.Addr},
		DB:                         parsed.DB,
		Username:                   parsed.Username,
		Password:                   parsed.Password,
		CredentialsProviderContext: opts.Credentials,
		PoolSize:                   opts.PoolSize,
		PipelinePoolSize:           -1, // pipelines take a connection of the others
		MaxRetries:                 1,
		DialerRetries:              1,
		DialTimeout:                2 * time.Second,
		ReadTimeout:                2 * time.Second,
		WriteTimeout:               2 * time.Second,
		ContextTimeoutEnabled:      true,
		DisableIdentity:            true,
		TLSConfig:                  parsed.TLSConfig,
		// A handshake that only Redis Enterprise answers.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if common.TLSConfig != nil {
		common.TLSConfig.MinVersion = tls.VersionTLS12
	}
	if !opts.RedisCluster {
		return newAutopipeline(common.Simple()).client, nil
	}
	cluster := common.Cluster()
	cluster.NewClient = func(opts *redis.Options) *redis.Client { return newAutopipeline(opts).client }
	// A master that has died answers nothing, not even where its slots are now. How
	// often the client asks the others is how long a failover lasts for us.
	cluster.ClusterStateReloadInterval = 2 * time.Second
	return redis.NewClusterClient(cluster), nil
}

// Ping reports whether Redis can be reached.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.presence.Ping(ctx).Err(); err != nil {
		return unavailable("ping", err)
	}
	if s.pages != nil {
		if err := s.pages.Ping(ctx).Err(); err != nil {
			return unavailable("ping", err)
		}
	}
	return nil
}

// Close closes the connections.
func (s *Store) Close() error {
	if s.pages != nil {
		return errors.Join(s.presence.Close(), s.pages.Close())
	}
	return s.presence.Close()
}

// Touch implements [presence.Store].
func (s *Store) Touch(ctx context.Context, userID, sessionID string, page presence.Page, reason presence.Reason) (presence.State, error) {
	u := s.user(userID)
	sessionID = digest(sessionID, sessionBytes)
	text, changed := sessionID+"\n"+page.URL+"\n"+page.Title, "0"
	if s.pages != nil {
		takeover := "0"
		if reason == presence.ReasonConnect {
			takeover = "1"
		}
		reply, err := showPage.Run(ctx, s.pages, []string{u.page()}, sessionID, text, (s.opts.Timeout + 2*time.Millisecond).Milliseconds(), takeover).Slice()
		if err != nil {
			return presence.State{}, unavailable("show page", err)
		}
		text, changed = reply[0].(string), fmt.Sprint(reply[1])
	}
	if reason == presence.ReasonHeartbeat && changed == "0" {
		state, err := s.beat(ctx, u, userID, sessionID, text)
		if !errors.Is(err, redis.Nil) {
			return state, unavailable("beat", err)
		}
	}
	reply, err := touch.Run(ctx, s.presence, s.keys(u, 5), userID, sessionID, string(reason),
		s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds(), text, changed).Slice()
	if err != nil {
		return presence.State{}, unavailable("touch", err)
	}
	// Another tab may have put its page up meanwhile; connect's answer goes to
	// subscribers, so it has to say what is shown.
	if s.pages != nil && (changed == "1" || reason == presence.ReasonConnect) {
		shown, err := settlePage.Run(ctx, s.pages, []string{u.page()}, text).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return presence.State{}, unavailable("settle page", err)
		}
		reply[3] = shown
	}
	return s.written(userID, reason, reply), nil
}

// beat records a heartbeat that changes nothing, or fails with [redis.Nil]
// where it does.
func (s *Store) beat(ctx context.Context, u user, userID, sessionID, page string) (presence.State, error) {
	reply, err := beat.Run(ctx, s.presence, s.keys(u, 2), userID, sessionID, s.opts.Timeout.Milliseconds(), page).Result()
	if err != nil {
		return presence.State{}, err
	}
	asOf, seen := reply, reply
	if other, ok := reply.([]any); ok {
		asOf, seen, page = other[0], other[1], other[2].(string)
	}
	p := s.presenceOf(userID, timeIn(asOf), timeIn(seen), timeIn(seen)+presence.Time(s.opts.Timeout.Milliseconds()), page)
	return presence.State{Presence: p, Reason: presence.ReasonHeartbeat}, nil
}

// Leave implements [presence.Store].
func (s *Store) Leave(ctx context.Context, userID, sessionID string, grace time.Duration) (presence.State, error) {
	u := s.user(userID)
	sessionID = digest(sessionID, sessionBytes)
	var shown string
	if s.pages != nil {
		var err error
		shown, err = hidePage.Run(ctx, s.pages, []string{u.page()}, sessionID, grace.Milliseconds()).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return presence.State{}, unavailable("hide page", err)
		}
	}
	reply, err := leave.Run(ctx, s.presence, s.keys(u, 5), userID, sessionID,
		grace.Milliseconds(), s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds()).Slice()
	if err != nil {
		return presence.State{}, unavailable("leave", err)
	}
	if s.pages != nil {
		reply[3] = shown
	}
	return s.written(userID, presence.ReasonDisconnect, reply), nil
}

// Status implements [presence.Store]. It is one script a shard, pipelined.
func (s *Store) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	type query struct {
		shard *shard
		keys  []string
		args  []any
		which []int // indices into userIDs
		reply *redis.Cmd
	}
	queries := make([]query, 0, 1)
	for i, id := range userIDs {
		u := s.user(id)
		n := slices.IndexFunc(queries, func(q query) bool { return q.shard == u.shard })
		if n < 0 {
			n = len(queries)
			queries = append(queries, query{shard: u.shard, keys: u.shard.keys[:4:4], args: []any{s.opts.Timeout.Milliseconds()}})
		}
		q := &queries[n]
		if s.pages == nil {
			q.keys = append(q.keys, u.page())
		}
		q.args = append(q.args, id)
		q.which = append(q.which, i)
	}
	ask := func(c redis.Scripter) {
		for i := range queries {
			q := &queries[i]
			q.reply = status.EvalSha(ctx, c, q.keys, q.args...)
		}
	}
	if len(queries) == 1 {
		ask(s.presence)
	} else {
		// Errors are those of single commands, looked at below.
		_, _ = s.presence.Pipelined(ctx, func(p redis.Pipeliner) error { ask(p); return nil })
	}
	states := make([]presence.State, len(userIDs))
	for _, q := range queries {
		if redis.HasErrorPrefix(q.reply.Err(), "NOSCRIPT") {
			q.reply = status.Eval(ctx, s.presence, q.keys, q.args...)
		}
		reply, err := q.reply.Slice()
		if err != nil {
			return nil, unavailable("status", err)
		}
		for j, i := range q.which {
			each := reply[5*j:]
			page, _ := each[3].(string)
			states[i].Presence = s.presenceOf(userIDs[i], timeIn(each[0]), timeIn(each[1]), timeIn(each[2]), page)
			states[i].Note, states[i].Reason = parseNote(each[4])
		}
	}
	return states, s.readPages(ctx, states)
}

// readPages adds the pages kept in a Redis of their own. They are read after
// the presence: a page is never older than its asOf.
func (s *Store) readPages(ctx context.Context, states []presence.State) error {
	if s.pages == nil {
		return nil
	}
	replies := make([]*redis.StringCmd, len(states))
	_, err := s.pages.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range states {
			replies[i] = p.Get(ctx, s.user(states[i].UserID).page())
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return unavailable("read pages", err)
	}
	for i := range states {
		if states[i].Status == presence.Online {
			states[i].URL, states[i].Title = parsePage(replies[i].Val())
		}
	}
	return nil
}

// Acknowledge implements [presence.Store].
func (s *Store) Acknowledge(ctx context.Context, userID string, note presence.Time) error {
	keys := s.shards[shardOf(userID, len(s.shards))].keys[3:]
	return unavailable("acknowledge", acknowledge.Run(ctx, s.presence, keys, userID, int64(note)).Err())
}

// Sweep implements [presence.Store]. Shards are swept a few at a time, each by
// a script of its own, so that heartbeats get their turn in between.
func (s *Store) Sweep(ctx context.Context) (presence.Sweep, error) {
	sweeps := make([]presence.Sweep, len(s.shards))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n := range s.shards {
		group.Go(func() (err error) {
			sweeps[n], err = s.sweep(groupCtx, n)
			return err
		})
	}
	err := group.Wait()
	total := presence.Sweep{Next: s.opts.Timeout}
	for _, sw := range sweeps {
		total.Due = append(total.Due, sw.Due...)
		total.Next = min(total.Next, sw.Next)
		total.Expired += sw.Expired
		total.Online += sw.Online
		total.Unannounced += sw.Unannounced
		total.Lag = max(total.Lag, sw.Lag)
		total.OldestNote = max(total.OldestNote, sw.OldestNote)
	}
	return total, err
}

func (s *Store) sweep(ctx context.Context, n int) (presence.Sweep, error) {
	reply, err := sweep.Run(ctx, s.presence, s.shards[n].keys[:],
		s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds(), longestLease.Milliseconds(),
		s.opts.Retention.Milliseconds(), s.opts.Away.Milliseconds(), s.opts.Batch).Slice()
	if err != nil {
		return presence.Sweep{}, unavailable("sweep", err)
	}
	millis := func(i int) time.Duration { return time.Duration(reply[i].(int64)) * time.Millisecond }
	sw := presence.Sweep{
		Next:        millis(1),
		Expired:     int(reply[2].(int64)),
		Online:      int(reply[3].(int64)),
		Unannounced: int(reply[4].(int64)),
		Lag:         millis(5),
		OldestNote:  millis(6),
	}
	if sw.Next < 0 {
		sw.Next = s.opts.Timeout
	}
	due := reply[0].([]any)
	sw.Due = make([]presence.State, 0, len(due)/5)
	for ; len(due) > 0; due = due[5:] {
		state := presence.State{Presence: s.presenceOf(due[0].(string), timeIn(due[1]), timeIn(due[2]), timeIn(due[3]), "")}
		state.Note, state.Reason = parseNote(due[4])
		sw.Due = append(sw.Due, state)
	}
	return sw, nil
}

// written decodes what touch and leave return.
func (s *Store) written(userID string, reason presence.Reason, reply []any) presence.State {
	page, _ := reply[3].(string)
	return presence.State{
		Presence:      s.presenceOf(userID, timeIn(reply[0]), timeIn(reply[1]), timeIn(reply[2]), page),
		Note:          timeIn(reply[4]),
		Reason:        reason,
		StatusChanged: reply[5].(int64) == 1,
	}
}

func timeIn(reply any) presence.Time { return presence.Time(reply.(int64)) }

// presenceOf returns a Presence of what the scripts say of a user; one who is
// offline expires at zero.
func (s *Store) presenceOf(userID string, asOf, lastSeen, expiresAt presence.Time, page string) presence.Presence {
	p := presence.Presence{
		UserID:              userID,
		Status:              presence.Offline,
		AsOf:                asOf,
		LastSeen:            lastSeen,
		HeartbeatIntervalMs: s.opts.Heartbeat.Milliseconds(),
	}
	if expiresAt != 0 {
		p.Status, p.ExpiresAt = presence.Online, expiresAt
		p.URL, p.Title = parsePage(page)
	}
	return p
}

// parsePage decodes "session\nurl\ntitle", with or without a mark at its end.
// Nil is a page that is not shown.
func parsePage(text string) (url, title *string) {
	_, page, _ := strings.Cut(text, "\n")
	u, t, _ := strings.Cut(strings.TrimSuffix(page, "\n"), "\n")
	if u == "" {
		return nil, nil
	}
	return &u, &t
}

// parseNote decodes "asOf reason", or nil.
func parseNote(reply any) (presence.Time, presence.Reason) {
	text, _ := reply.(string)
	at, reason, _ := strings.Cut(text, " ")
	var note int64
	for _, digit := range []byte(at) {
		note = note*10 + int64(digit-'0')
	}
	return presence.Time(note), presence.Reason(reason)
}

// user is where a user is kept.
type user struct {
	shard *shard
	id    string // what the user's own keys have of the id
}

func (s *Store) user(userID string) user {
	return user{&s.shards[shardOf(userID, len(s.shards))], digest(userID, userBytes)}
}

func (u user) sessions() string { return u.shard.tag + ":s:" + u.id }
func (u user) page() string     { return u.shard.tag + ":p:" + u.id }

// keys returns the keys of a script: the first n of the shard's, the user's
// sessions, and the page unless pages are kept elsewhere.
func (s *Store) keys(u user, n int) []string {
	keys := append(make([]string, 0, 7), u.shard.keys[:n]...)
	keys = append(keys, u.sessions())
	if s.pages == nil {
		keys = append(keys, u.page())
	}
	return keys
}

// How much of their hash ids are kept as. Ids tend to be long, and every byte
// of a user's is paid for in each of the user's keys, of a session's once more
// in its page. 120 bits tell all users apart, whoever chooses their ids; 40 the
// at most 100 sessions of one, who mixes up but his own by looking for two that
// share them.
const userBytes, sessionBytes = 15, 5

func digest(id string, bytes int) string {
	if id == "" {
		return ""
	}
	// Neither outgrows the stack: no id is longer.
	var in [128]byte
	var out [20]byte
	sum := sha256.Sum256(append(in[:0], id...))
	return string(base64.RawURLEncoding.AppendEncode(out[:0], sum[:bytes]))
}

// shardOf spreads users by FNV-1a, inline so that it does not allocate.
func shardOf(userID string, shards int) int {
	h := uint32(2166136261)
	for i := range len(userID) {
		h = (h ^ uint32(userID[i])) * 16777619
	}
	return int(h % uint32(shards))
}

// unavailable turns an error of Redis into one for the caller, and nil into
// nil.
func unavailable(op string, err error) error {
	if err == nil {
		return nil
	}
	return &presence.Error{
		Code:    presence.Unavailable,
		Message: "The presence store can not be reached right now. Try again in a moment.",
		Err:     fmt.Errorf("redisstore: %s: %w", op, err),
	}
}
