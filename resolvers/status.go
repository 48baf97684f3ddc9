package resolvers

import (
	"context"

	"presence"
)

type one struct {
	UserID string `json:"userId"`
}

type many struct {
	UserIDs []string `json:"userIds"`
}

// status reads one user.
func (h *Handler) status(ctx context.Context, _ *call, args one) (*presence.Presence, error) {
	state, err := h.read(ctx, args)
	if err != nil {
		return nil, err
	}
	return &state.Presence, nil
}

// statuses reads users in the order asked.
func (h *Handler) statuses(ctx context.Context, _ *call, args many) ([]presence.Presence, error) {
	if len(args.UserIDs) > maxUserIDs {
		return nil, presence.Errorf(presence.InvalidArgument, "At most %d userIds can be asked for at once; these are %d.", maxUserIDs, len(args.UserIDs))
	}
	for _, id := range args.UserIDs {
		if err := checkUserID(id); err != nil {
			return nil, err
		}
	}
	states, err := h.Store.Status(ctx, args.UserIDs)
	if err != nil {
		return nil, err
	}
	all := make([]presence.Presence, len(states))
	for i := range states {
		all[i] = states[i].Presence
	}
	return all, nil
}

func (h *Handler) read(ctx context.Context, args one) (presence.State, error) {
	if err := checkUserID(args.UserID); err != nil {
		return presence.State{}, err
	}
	states, err := h.Store.Status(ctx, []string{args.UserID})
	if err != nil {
		return presence.State{}, err
	}
	return states[0], nil
}
