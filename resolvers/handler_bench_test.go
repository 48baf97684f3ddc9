package resolvers_test

import (
	"context"
	"io"
	"os"
	"testing"

	"presence"
	"presence/internal/metrics"
	"presence/resolvers"
)

// instant is a Store that answers at once, so that what is left is the
// handler's own work.
type instant struct{ presence.Store }

var pageURL, pageTitle = "https://example.com/welcome", "Welcome"

func (instant) state(userID string) presence.State {
	return presence.State{Presence: presence.Presence{
		UserID: userID, Status: presence.Online, URL: &pageURL, Title: &pageTitle,
		LastSeen: 1_800_000_000_000, AsOf: 1_800_000_000_000, ExpiresAt: 1_800_000_075_000, HeartbeatIntervalMs: 30_000,
	}}
}

func (s instant) Touch(_ context.Context, b presence.Beat) (presence.State, error) {
	return s.state(b.UserID), nil
}

func (instant) Leave(context.Context, presence.Leave) (presence.State, error) {
	return presence.State{}, nil
}

func (s instant) Status(_ context.Context, userIDs []string) ([]presence.State, error) {
	states := make([]presence.State, len(userIDs))
	for i, id := range userIDs {
		states[i] = s.state(id)
	}
	return states, nil
}

func BenchmarkInvoke(b *testing.B) {
	handler := resolvers.New(resolvers.Options{
		Timing: timing, Store: instant{}, Publisher: &bus{}, Metrics: metrics.NewEMF(io.Discard, nil),
	})
	for _, name := range []string{"connect", "heartbeat", "status", "statuses", "disconnect", "connected", "on-presence"} {
		payload, err := os.ReadFile("../testdata/events/" + name + ".json")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := handler.Invoke(b.Context(), payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
