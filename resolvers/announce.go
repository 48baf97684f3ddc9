package resolvers

import (
	"context"
	"time"

	"presence"
	"presence/internal/metrics"
)

// publishTimeout is how long a caller waits for EventBridge. What it has not
// taken by then, the next sweep publishes.
const publishTimeout = time.Second

// announce answers connected and disconnected, which EventBridge calls for a
// user whose note is due. AppSync sends subscribers the answer: the state as it
// is now, whatever the event said, so late, doubled and reordered events do no
// harm. Acknowledging is the last step: until then, the note falls due again.
func (h *Handler) announce(ctx context.Context, userID string) (*presence.Presence, error) {
	if err := presence.CheckUserID(userID); err != nil {
		return nil, err
	}
	states, err := h.Store.Status(ctx, []string{userID})
	if err != nil {
		return nil, err
	}
	state := &states[0]
	state.Topics = []string{presence.UserTopic(userID)}
	if state.Note != 0 {
		h.acknowledge(ctx, userID, state.Note)
	}
	return &state.Presence, nil
}

func (h *Handler) acknowledge(ctx context.Context, userID string, note presence.Time) {
	if err := h.Store.Acknowledge(ctx, userID, note); err != nil {
		h.Logger.WarnContext(ctx, "not acknowledged; will be announced again", "cause", err)
		return
	}
	h.Metrics.Record(metrics.Announced, 1)
}

// publish publishes events. What fails here is left to the outbox.
func (h *Handler) publish(ctx context.Context, events []presence.Event) {
	failed, err := h.Publisher.Publish(ctx, events)
	if failed > 0 {
		h.Metrics.Record(metrics.PublishFailures, float64(failed))
		h.Logger.WarnContext(ctx, "not published; will be tried again", "events", failed, "cause", err)
	}
}
