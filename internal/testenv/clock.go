package testenv

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock is the clock of a Redis, as its command TIME tells it.
type Clock struct {
	tb     TB
	client *redis.Client
}

// ClockOf returns the clock of the Redis at a URL.
func ClockOf(tb TB, url string) *Clock {
	tb.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	c := &Clock{tb, redis.NewClient(opts)}
	tb.Cleanup(func() { c.client.Close() })
	return c
}

// Now returns the time of the Redis.
func (c *Clock) Now() time.Time {
	c.tb.Helper()
	now, err := c.client.Time(context.Background()).Result()
	if err != nil {
		c.tb.Fatal(err)
	}
	return now
}

// Advance waits until the clock has advanced by d.
func (c *Clock) Advance(d time.Duration) {
	c.tb.Helper()
	end := c.Now().Add(d)
	Eventually(c.tb, d+time.Minute, func() error {
		if left := end.Sub(c.Now()); left > 0 {
			return fmt.Errorf("the clock of Redis is %v short", left)
		}
		return nil
	})
}
