package sim

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"presence"
)

// Sample is the algorithm of AWS' AppSync presence sample, for comparison:
// one sorted set of users by their last heartbeat, no sessions, pages or asOf;
// a status is whether a user is in the set; and a sweep once a minute takes out
// who has timed out, and then tells EventBridge. Only the idea is the sample's.
func Sample(env Env) (Invoker, error) {
	opts, err := redis.ParseURL(env.RedisURL)
	if err != nil {
		return nil, err
	}
	return &sample{env, redis.NewClient(opts)}, nil
}

type sample struct {
	Env
	redis *redis.Client
}

func (s *sample) Close() error { return s.redis.Close() }

const sampleKey = "presence"

// Invoke implements [Invoker].
func (s *sample) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var c struct {
		Field     string
		Arguments struct {
			UserID     string   `json:"userId"`
			UserIDs    []string `json:"userIds"`
			URL, Title string
		}
		Caller struct{ ID string }
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, err
	}
	_, field, _ := strings.Cut(c.Field, ".")
	user, args := c.Caller.ID, c.Arguments
	switch field {
	case "":
		return nil, s.sweep(ctx)
	case "connect", "heartbeat":
		reason := presence.Reason(field)
		s.Applying(Operation{UserID: user, Page: presence.Page{URL: args.URL, Title: args.Title}, Reason: reason})
		err := s.redis.ZAdd(ctx, sampleKey, redis.Z{Score: float64(s.Now().UnixMilli()), Member: user}).Err()
		if err != nil {
			return nil, err
		}
		return data(answer(user, presence.Online)), nil
	case "disconnect":
		s.Applying(Operation{Leave: true, UserID: user})
		removed, err := s.redis.ZRem(ctx, sampleKey, user).Result()
		if err == nil && removed == 1 {
			s.publish(ctx, user)
		}
		return data(answer(user, presence.Offline)), err
	case "disconnected":
		return data(answer(args.UserID, presence.Offline)), nil
	}
	s.Applying(Operation{})
	all := make([]presence.Presence, len(args.UserIDs))
	for i, id := range args.UserIDs {
		all[i] = answer(id, presence.Online)
		if err := s.redis.ZScore(ctx, sampleKey, id).Err(); err == redis.Nil { //nolint:errorlint // never wrapped
			all[i].Status = presence.Offline
		} else if err != nil {
			return nil, err
		}
	}
	return data(all), nil
}

// sweep takes users out and then publishes. What fails is lost.
func (s *sample) sweep(ctx context.Context) error {
	s.Applying(Operation{})
	limit := strconv.FormatInt(s.Now().Add(-s.Timeout).UnixMilli(), 10)
	var gone *redis.StringSliceCmd
	_, err := s.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		gone = p.ZRangeByScore(ctx, sampleKey, &redis.ZRangeBy{Min: "-inf", Max: limit})
		p.ZRemRangeByScore(ctx, sampleKey, "-inf", limit)
		return nil
	})
	if err != nil {
		return err
	}
	for users := gone.Val(); len(users) > 0; users = users[min(10, len(users)):] {
		s.publish(ctx, users[:min(10, len(users))]...)
	}
	return nil
}

func (s *sample) publish(ctx context.Context, users ...string) {
	events := make([]presence.Event, len(users))
	for i, id := range users {
		events[i] = presence.Event{Change: presence.Disconnected, UserID: id, Status: presence.Offline}
	}
	_, _ = s.Publisher.Publish(ctx, events)
}

// data is what the function answers.
func data(v any) []byte {
	text, err := json.Marshal(map[string]any{"data": v})
	if err != nil {
		panic(err)
	}
	return text
}

func answer(userID string, status presence.Status) presence.Presence {
	return presence.Presence{UserID: userID, Status: status}
}
