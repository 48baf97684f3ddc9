package resolvers

import (
	"context"

	"presence"
)

type departure struct {
	SessionID string `json:"sessionId"`
	GraceMs   *int64 `json:"graceMs"`
}

// disconnect ends a session. AppSync sends subscribers any answer that is not
// null, so it is null unless the user went offline: nobody is told of a tab
// that was not the last, or of one that may come back.
func (h *Handler) disconnect(ctx context.Context, c *call, args departure) (*presence.Presence, error) {
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	if err := checkSessionID(args.SessionID); err != nil {
		return nil, err
	}
	grace, err := grace(args.GraceMs, h.Timeout)
	if err != nil {
		return nil, err
	}
	state, err := h.Store.Leave(ctx, user, args.SessionID, grace)
	if err != nil || state.Note == 0 {
		return nil, err
	}
	whole := c.selectsAll()
	h.tell(ctx, state, whole)
	return toSubscribers(state.Presence, whole), nil
}
