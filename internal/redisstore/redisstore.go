// Package redisstore keeps presence in Redis.
//
// Users are spread over shards; the keys of a shard and of its users share a
// hash tag, so that every script runs within one slot of a cluster. What the
// keys hold is written at the head of lua/lib.lua and lua/touch.lua. Page info
// may be kept in a Redis of its own; by default it is in the same one, and then
// every operation is one script and one round trip.
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
	// Batch is how many users one script expires or announces at most. Zero means
	// 100, which keeps Redis busy for less than a millisecond.
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

// shard is a shard's keys, in the order the scripts take them.
type shard struct {
	tag  string
	keys [5]string
}

// New returns a Store. It does not connect yet; [Store.Ping] does.
func New(opts Options) (*Store, error) {
	opts.Prefix = cmp.Or(opts.Prefix, "p")
	opts.Lease = cmp.Or(opts.Lease, 5*time.Second)
	opts.Away = cmp.Or(opts.Away, opts.Timeout-opts.Heartbeat)
	opts.Batch = cmp.Or(opts.Batch, 100)
	s := &Store{opts: opts, shards: make([]shard, opts.Shards)}
	for i := range s.shards {
		tag := fmt.Sprintf("%s{%d}", opts.Prefix, i)
		s.shards[i] = shard{tag, [5]string{tag + ":online", tag + ":lastseen", tag + ":outbox", tag + ":notes", tag + ":shard"}}
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
		return redis.NewClient(common.Simple()), nil
	}
	cluster := common.Cluster()
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
	sessionID = short(sessionID)
	text, changed := sessionID+"\n"+page.URL+"\n"+page.Title, "0"
	if s.pages != nil {
		takeover := "0"
		if reason == presence.ReasonConnect {
			takeover = "1"
		}
		reply, err := showPage.Run(ctx, s.pages, []string{s.pageKey(userID)}, sessionID, text, (s.opts.Timeout + 2*time.Millisecond).Milliseconds(), takeover).Slice()
		if err != nil {
			return presence.State{}, unavailable("show page", err)
		}
		text, changed = reply[0].(string), fmt.Sprint(reply[1])
	}
	reply, err := touch.Run(ctx, s.presence, s.userKeys(userID), userID, sessionID, string(reason),
		s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds(), text, changed).Slice()
	if err != nil {
		return presence.State{}, unavailable("touch", err)
	}
	// Another tab may have put its page up meanwhile; connect's answer goes to
	// subscribers, so it has to say what is shown.
	if s.pages != nil && (changed == "1" || reason == presence.ReasonConnect) {
		shown, err := settlePage.Run(ctx, s.pages, []string{s.pageKey(userID)}, text).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return presence.State{}, unavailable("settle page", err)
		}
		reply[0].([]any)[4] = shown
	}
	return s.written(userID, reason, reply), nil
}

// Leave implements [presence.Store].
func (s *Store) Leave(ctx context.Context, userID, sessionID string, grace time.Duration) (presence.State, error) {
	sessionID = short(sessionID)
	var shown string
	if s.pages != nil {
		var err error
		shown, err = hidePage.Run(ctx, s.pages, []string{s.pageKey(userID)}, sessionID, grace.Milliseconds()).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return presence.State{}, unavailable("hide page", err)
		}
	}
	reply, err := leave.Run(ctx, s.presence, s.userKeys(userID), userID, sessionID,
		grace.Milliseconds(), s.opts.Timeout.Milliseconds(), s.opts.Lease.Milliseconds()).Slice()
	if err != nil {
		return presence.State{}, unavailable("leave", err)
	}
	if s.pages != nil {
		reply[0].([]any)[4] = shown
	}
	return s.written(userID, presence.ReasonDisconnect, reply), nil
}

// Status implements [presence.Store]. It is one script a shard, pipelined.
func (s *Store) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	type query struct {
		keys  []string
		args  []any
		which []int // indices into userIDs
		reply *redis.Cmd
	}
	queries := make(map[int]*query, 1)
	for i, id := range userIDs {
		n := shardOf(id, len(s.shards))
		q := queries[n]
		if q == nil {
			q = &query{keys: s.shards[n].keys[:5:5], args: []any{s.opts.Timeout.Milliseconds()}}
			queries[n] = q
		}
		if s.pages == nil {
			q.keys = append(q.keys, s.pageKey(id))
		}
		q.args = append(q.args, id)
		q.which = append(q.which, i)
	}
	// Errors are those of single commands, looked at below.
	_, _ = s.presence.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, q := range queries {
			q.reply = status.EvalSha(ctx, p, q.keys, q.args...)
		}
		return nil
	})
	states := make([]presence.State, len(userIDs))
	for _, q := range queries {
		if redis.HasErrorPrefix(q.reply.Err(), "NOSCRIPT") {
			q.reply = status.Eval(ctx, s.presence, q.keys, q.args...)
		}
		replies, err := q.reply.Slice()
		if err != nil {
			return nil, unavailable("status", err)
		}
		for j, i := range q.which {
			pair := replies[j].([]any)
			states[i] = s.state(userIDs[i], pair[0].([]any))
			states[i].Note, states[i].Reason = parseNote(pair[1])
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
			replies[i] = p.Get(ctx, s.pageKey(states[i].UserID))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return unavailable("read pages", err)
	}
	for i := range states {
		if states[i].Status == presence.Online {
			setPage(&states[i].Presence, replies[i].Val())
		}
	}
	return nil
}

// Acknowledge implements [presence.Store].
func (s *Store) Acknowledge(ctx context.Context, userID string, note presence.Time) error {
	keys := s.shards[shardOf(userID, len(s.shards))].keys[:]
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
	for _, due := range reply[0].([]any) {
		due := due.([]any)
		state := s.state(due[0].(string), due[1].([]any))
		state.Note, state.Reason = parseNote(due[2])
		sw.Due = append(sw.Due, state)
	}
	return sw, nil
}

// written decodes what touch and leave return.
func (s *Store) written(userID string, reason presence.Reason, reply []any) presence.State {
	state := s.state(userID, reply[0].([]any))
	state.Note = presence.Time(reply[1].(int64))
	state.Reason = reason
	state.StatusChanged = reply[2].(int64) == 1
	return state
}

// state decodes what the scripts' state returns.
func (s *Store) state(userID string, reply []any) presence.State {
	p := presence.Presence{
		UserID:              userID,
		Status:              presence.Offline,
		AsOf:                presence.Time(reply[1].(int64)),
		LastSeen:            presence.Time(reply[2].(int64)),
		HeartbeatIntervalMs: s.opts.Heartbeat.Milliseconds(),
	}
	if reply[0].(int64) == 1 {
		p.Status = presence.Online
		p.ExpiresAt = presence.Time(reply[3].(int64))
		page, _ := reply[4].(string)
		setPage(&p, page)
	}
	return presence.State{Presence: p}
}

// setPage decodes "session\nurl\ntitle", with or without a mark at its end.
func setPage(p *presence.Presence, text string) {
	_, page, _ := strings.Cut(text, "\n")
	url, title, _ := strings.Cut(strings.TrimSuffix(page, "\n"), "\n")
	p.URL, p.Title = nil, nil
	if url != "" {
		p.URL, p.Title = &url, &title
	}
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

func (s *Store) userKeys(userID string) []string {
	sh := &s.shards[shardOf(userID, len(s.shards))]
	keys := append(make([]string, 0, 7), sh.keys[:]...)
	keys = append(keys, sh.tag+":s:"+userID)
	if s.pages == nil {
		keys = append(keys, sh.tag+":p:"+userID)
	}
	return keys
}

func (s *Store) pageKey(userID string) string {
	return s.shards[shardOf(userID, len(s.shards))].tag + ":p:" + userID
}

// short returns what a session is kept as. Ids tend to be long and are kept
// twice for each session online. 40 bits tell the at most 100 of a user apart;
// whoever looks for two ids that share them mixes up but his own.
func short(sessionID string) string {
	if sessionID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(sessionID))
	return base64.RawURLEncoding.EncodeToString(sum[:5])
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
