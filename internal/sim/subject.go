package sim

import (
	"context"
	"io"
	"log/slog"
	"time"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/resolvers"
)

// Subject makes an instance of the Lambda function that is tried.
type Subject func(Env) (Invoker, error)

// Invoker is a Lambda function, or an instance of one.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
	Close() error
}

// Env is what a Lambda function finds.
type Env struct {
	presence.Timing
	RedisURL, StatusRedisURL string
	SweepFor                 time.Duration
	Publisher                presence.Publisher
	Now                      func() time.Time
	Sleep                    func(context.Context, time.Duration) error
	// Applying is told which operation the next commands to Redis do.
	Applying func(Operation)
}

// Operation is what one does to the store, for the simulator to know the truth.
// The zero Operation changes nothing.
type Operation struct {
	Leave             bool
	UserID, SessionID string
	Page              presence.Page
	Reason            presence.Reason
	GraceMs           int64
}

// acknowledging marks an operation that says nothing about anybody.
const acknowledging presence.Reason = "acknowledge"

// Ours is this API's handler. wrap, if not nil, may spoil its store.
func Ours(wrap func(presence.Store) presence.Store) Subject {
	return func(env Env) (Invoker, error) {
		store, err := redisstore.New(redisstore.Options{
			Timing: env.Timing,
			Redis:  config.Redis{RedisURL: env.RedisURL, StatusRedisURL: env.StatusRedisURL},
			// More would be swept at once, in an order that is not the seed's.
			Shards: 1,
		})
		if err != nil {
			return nil, err
		}
		var told presence.Store = &telling{store, env.Applying}
		if wrap != nil {
			told = wrap(told)
		}
		return &ours{resolvers.New(resolvers.Options{
			Timing: env.Timing, Store: told, Publisher: env.Publisher, SweepFor: env.SweepFor,
			Now: env.Now, Sleep: env.Sleep, Logger: slog.New(slog.DiscardHandler),
		}), store}, nil
	}
}

type ours struct {
	*resolvers.Handler
	io.Closer
}

// telling is a store that says what it is about to do.
type telling struct {
	presence.Store
	applying func(Operation)
}

func (s *telling) Touch(ctx context.Context, b presence.Beat) (presence.State, error) {
	s.applying(Operation{UserID: b.UserID, SessionID: b.SessionID, Page: b.Page, Reason: b.Reason})
	return s.Store.Touch(ctx, b)
}

func (s *telling) Leave(ctx context.Context, l presence.Leave) (presence.State, error) {
	s.applying(Operation{Leave: true, UserID: l.UserID, SessionID: l.SessionID, GraceMs: l.GraceMs})
	return s.Store.Leave(ctx, l)
}

func (s *telling) Status(ctx context.Context, userIDs []string) ([]presence.State, error) {
	s.applying(Operation{})
	return s.Store.Status(ctx, userIDs)
}

func (s *telling) Acknowledge(ctx context.Context, userID string, note presence.Time) error {
	s.applying(Operation{Reason: acknowledging})
	return s.Store.Acknowledge(ctx, userID, note)
}

func (s *telling) Sweep(ctx context.Context) (presence.Sweep, error) {
	s.applying(Operation{})
	return s.Store.Sweep(ctx)
}
