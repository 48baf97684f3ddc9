package redisstore_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"presence"
	"presence/internal/config"
	"presence/internal/redisstore"
	"presence/internal/testenv"
)

// The hot paths against a real Redis: what is left of the time when the round
// trip is taken off, and the allocations, are ours.
func BenchmarkStore(b *testing.B) {
	server := testenv.Redis(b)
	store, err := redisstore.New(redisstore.Options{
		Timing: presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second, Retention: time.Hour},
		Redis:  config.Redis{RedisURL: server.URL}, Shards: 16,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	page := presence.Page{URL: "https://example.com/welcome", Title: "Welcome"}
	users := make([]string, 100)
	for i := range users {
		users[i] = "user" + strconv.Itoa(i)
		state, err := store.Touch(b.Context(), presence.Beat{UserID: users[i], SessionID: "", Page: page, Reason: presence.ReasonConnect})
		if err != nil {
			b.Fatal(err)
		}
		if err := store.Acknowledge(b.Context(), users[i], state.Note); err != nil {
			b.Fatal(err)
		}
	}
	for _, session := range []string{"", "5f6c2d2e-0000-4000-8000-000000000000"} {
		b.Run("touch/session="+session, func(b *testing.B) {
			b.ReportAllocs()
			// Of many, as a user's clock must not run ahead of the time.
			for n := 0; b.Loop(); n++ {
				if _, err := store.Touch(b.Context(), presence.Beat{UserID: users[n%len(users)], SessionID: session, Page: page, Reason: presence.ReasonHeartbeat}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("status/users=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.Status(b.Context(), users[:n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("sweep/idle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Sweep(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
