package sim

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/wire"
)

// Ancestor is the algorithm of AWS' AppSync presence sample, for comparison:
// one sorted set of users by their last heartbeat, no sessions, pages or asOf;
// a status is whether a user is in the set; and a sweep once a minute takes out
// who has timed out, and then tells EventBridge. Only the idea is the sample's.
func Ancestor(env Env) (Invoker, error) {
	opts, err := redis.ParseURL(env.RedisURL)
	if err != nil {
		return nil, err
	}
	return &ancestor{env, redis.NewClient(opts)}, nil
}

type ancestor struct {
	Env
	redis *redis.Client
}

func (a *ancestor) Close() error { return a.redis.Close() }

const ancestorKey = "presence"

// Invoke implements [Invoker].
func (a *ancestor) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var c wire.Event
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, err
	}
	var args struct {
		UserID     string   `json:"userId"`
		UserIDs    []string `json:"userIds"`
		URL, Title string
	}
	if len(c.Arguments) > 0 {
		if err := json.Unmarshal(c.Arguments, &args); err != nil {
			return nil, err
		}
	}
	switch c.Info.FieldName {
	case "":
		return nil, a.sweep(ctx)
	case "connect", "heartbeat":
		reason := presence.Reason(c.Info.FieldName)
		a.Applying(Operation{UserID: c.Identity.Sub, Page: presence.Page{URL: args.URL, Title: args.Title}, Reason: reason})
		added, err := a.redis.ZAdd(ctx, ancestorKey, redis.Z{Score: float64(a.Now().UnixMilli()), Member: c.Identity.Sub}).Result()
		if err != nil {
			return nil, err
		}
		if added == 1 {
			// Nobody tells AppSync of these.
			a.publish(ctx, presence.Online, true, c.Identity.Sub)
		}
		return json.Marshal(answer(c.Identity.Sub, presence.Online))
	case "disconnect":
		a.Applying(Operation{Leave: true, UserID: c.Identity.Sub})
		removed, err := a.redis.ZRem(ctx, ancestorKey, c.Identity.Sub).Result()
		if err == nil && removed == 1 {
			a.publish(ctx, presence.Offline, false, c.Identity.Sub)
		}
		return []byte("null"), err
	case "disconnected":
		return json.Marshal(answer(args.UserID, presence.Offline))
	}
	a.Applying(Operation{})
	all := make([]presence.Presence, len(args.UserIDs))
	for i, id := range args.UserIDs {
		all[i] = answer(id, presence.Online)
		if err := a.redis.ZScore(ctx, ancestorKey, id).Err(); err == redis.Nil { //nolint:errorlint // never wrapped
			all[i].Status = presence.Offline
		} else if err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}

// sweep takes users out and then publishes. What fails is lost.
func (a *ancestor) sweep(ctx context.Context) error {
	a.Applying(Operation{})
	limit := strconv.FormatInt(a.Now().Add(-a.Timeout).UnixMilli(), 10)
	var gone *redis.StringSliceCmd
	_, err := a.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		gone = p.ZRangeByScore(ctx, ancestorKey, &redis.ZRangeBy{Min: "-inf", Max: limit})
		p.ZRemRangeByScore(ctx, ancestorKey, "-inf", limit)
		return nil
	})
	if err != nil {
		return err
	}
	for users := gone.Val(); len(users) > 0; users = users[min(10, len(users)):] {
		a.publish(ctx, presence.Offline, false, users[:min(10, len(users))]...)
	}
	return nil
}

func (a *ancestor) publish(ctx context.Context, status presence.Status, announced bool, users ...string) {
	events := make([]presence.Event, len(users))
	for i, id := range users {
		events[i] = presence.Event{UserID: id, Status: status, Announced: announced}
	}
	_, _ = a.Publisher.Publish(ctx, events)
}

func answer(userID string, status presence.Status) presence.Presence {
	return presence.Presence{UserID: userID, Status: status}
}
