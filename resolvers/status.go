package resolvers

import (
	"context"

	"presence"
)

// maxUserIDs is how many users may be asked for at once.
const maxUserIDs = 100

// status reads one user.
func (h *Handler) status(ctx context.Context, userID string) (*presence.Presence, error) {
	if err := presence.CheckUserID(userID); err != nil {
		return nil, err
	}
	states, err := h.Store.Status(ctx, []string{userID})
	if err != nil {
		return nil, err
	}
	return &states[0].Presence, nil
}

// statuses reads users in the order asked.
func (h *Handler) statuses(ctx context.Context, userIDs []string) ([]presence.Presence, error) {
	if len(userIDs) > maxUserIDs {
		return nil, presence.Errorf(presence.InvalidArgument, "At most %d userIds can be asked for at once; these are %d.", maxUserIDs, len(userIDs))
	}
	for _, id := range userIDs {
		if err := presence.CheckUserID(id); err != nil {
			return nil, err
		}
	}
	states, err := h.Store.Status(ctx, userIDs)
	if err != nil {
		return nil, err
	}
	all := make([]presence.Presence, len(states))
	for i := range states {
		all[i] = states[i].Presence
	}
	return all, nil
}
