package resolvers

import (
	"context"

	"presence"
)

// heartbeat reports a page still open. AppSync sends its answer to nobody, so
// where it has changed something, an announcement does.
func (h *Handler) heartbeat(ctx context.Context, c *call, args visit) (*presence.Presence, error) {
	state, err := h.touch(ctx, c, args, presence.ReasonHeartbeat, false)
	if err != nil {
		return nil, err
	}
	return &state.Presence, nil
}
