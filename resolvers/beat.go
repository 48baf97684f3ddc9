package resolvers

import (
	"context"

	"presence"
	"presence/internal/metrics"
)

// connect reports that a session opened a page.
func (h *Handler) connect(ctx context.Context, beat presence.Beat) (*presence.Presence, error) {
	beat.Reason = presence.ReasonConnect
	return h.beat(ctx, beat)
}

// heartbeat reports that a session is still on its page.
func (h *Handler) heartbeat(ctx context.Context, beat presence.Beat) (*presence.Presence, error) {
	beat.Reason = presence.ReasonHeartbeat
	return h.beat(ctx, beat)
}

func (h *Handler) beat(ctx context.Context, beat presence.Beat) (*presence.Presence, error) {
	if err := beat.Check(); err != nil {
		return nil, err
	}
	state, err := h.Store.Touch(ctx, beat)
	if err != nil {
		return nil, err
	}
	h.tell(ctx, state)
	return &state.Presence, nil
}

// disconnect ends a session.
func (h *Handler) disconnect(ctx context.Context, leave presence.Leave) (*presence.Presence, error) {
	if err := leave.Check(h.Timeout); err != nil {
		return nil, err
	}
	state, err := h.Store.Leave(ctx, leave)
	if err != nil {
		return nil, err
	}
	h.tell(ctx, state)
	return &state.Presence, nil
}

// tell publishes what a write changed, if anything. What EventBridge does not
// take now, the next sweep publishes.
func (h *Handler) tell(ctx context.Context, state presence.State) {
	if state.Change == presence.NoChange {
		return
	}
	if state.Change != presence.Changed {
		h.Metrics.Record(metrics.Transitions, 1, string(state.Reason))
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	h.publish(ctx, []presence.Event{presence.EventOf(state)})
}
