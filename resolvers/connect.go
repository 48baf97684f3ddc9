package resolvers

import (
	"context"

	"presence"
)

// connect reports a page opened. Its answer is what subscribers are sent.
func (h *Handler) connect(ctx context.Context, c *call, args visit) (*presence.Presence, error) {
	whole := c.selectsAll()
	state, err := h.touch(ctx, c, args, presence.ReasonConnect, whole)
	if err != nil {
		return nil, err
	}
	return toSubscribers(state.Presence, whole), nil
}

// touch is what connect and heartbeat share. fannedOut says that subscribers
// get the answer.
func (h *Handler) touch(ctx context.Context, c *call, args visit, reason presence.Reason, fannedOut bool) (presence.State, error) {
	user, err := c.user()
	if err != nil {
		return presence.State{}, err
	}
	page, err := args.page()
	if err != nil {
		return presence.State{}, err
	}
	state, err := h.Store.Touch(ctx, user, args.SessionID, page, reason)
	if err == nil {
		h.tell(ctx, state, fannedOut)
	}
	return state, err
}
