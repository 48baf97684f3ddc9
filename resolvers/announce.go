package resolvers

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"presence"
	"presence/internal/metrics"
	"presence/internal/wire"
)

// publishTimeout is how long a caller is kept waiting for EventBridge. What it
// has not taken by then the next sweep publishes.
const publishTimeout = time.Second

// announce answers connected and disconnected, which EventBridge calls for a
// user whose note is due. AppSync sends subscribers the answer: the state as it
// is now, whatever the event said, so late, doubled and reordered events do no
// harm. Acknowledging is the last step: until it, the note falls due again.
func (h *Handler) announce(ctx context.Context, c *call, args one) (*presence.Presence, error) {
	if c.mode() != wire.ModeIAM {
		return nil, presence.Errorf(presence.Unauthorized, "Only EventBridge can do this: call with IAM.")
	}
	state, err := h.read(ctx, args)
	if err != nil {
		return nil, err
	}
	whole := c.selectsAll()
	if state.Note != 0 && whole {
		h.acknowledge(ctx, state)
	}
	return toSubscribers(state.Presence, whole), nil
}

// tell sees to it that a change is announced. Where subscribers get the answer
// of this very call (fannedOut), EventBridge is told for the sake of others and
// the note is done with; where they do not, the event is what announces. What
// fails here is left to the outbox.
func (h *Handler) tell(ctx context.Context, state presence.State, fannedOut bool) {
	if state.Note == 0 {
		return
	}
	if state.StatusChanged {
		h.Metrics.Record(metrics.Transitions, 1, string(state.Reason))
	}
	if state.StatusChanged || !fannedOut {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if !h.publish(ctx, []presence.Event{event(state, fannedOut)}) {
			return
		}
	}
	if fannedOut {
		h.acknowledge(ctx, state)
	}
}

func (h *Handler) acknowledge(ctx context.Context, state presence.State) {
	if err := h.Store.Acknowledge(ctx, state.UserID, state.Note); err != nil {
		h.Logger.WarnContext(ctx, "not acknowledged; will be announced again", "cause", err)
		return
	}
	h.Metrics.Record(metrics.Announced, 1)
}

// publish reports whether EventBridge has taken all the events.
func (h *Handler) publish(ctx context.Context, events []presence.Event) bool {
	failed, err := h.Publisher.Publish(ctx, events)
	if failed > 0 {
		h.Metrics.Record(metrics.PublishFailures, float64(failed))
		h.Logger.WarnContext(ctx, "not published; will be tried again", "events", failed, "cause", err)
	}
	return failed == 0
}

func event(state presence.State, announced bool) presence.Event {
	return presence.Event{
		UserID:    state.UserID,
		Status:    state.Status,
		AsOf:      state.AsOf,
		LastSeen:  state.LastSeen,
		Reason:    state.Reason,
		Announced: announced,
	}
}

// forSubscribers are the fields a watcher needs. AppSync sends subscribers
// just what the mutation selected, so a client that selects less would rob
// them all.
var forSubscribers = []string{"userId", "status", "url", "title", "lastSeen", "asOf", "expiresAt", "heartbeatIntervalMs"}

// toSubscribers returns a presence as AppSync may send it to subscribers: as far
// as the call selects it. A part of one must not replace the whole they know, so
// it goes without asOf.
func toSubscribers(p presence.Presence, whole bool) *presence.Presence {
	if !whole {
		p.AsOf = 0
	}
	return &p
}

// selectsAll reports whether the call's selection has what subscribers need.
// The list holds aliases in place of names, and the selection's text shows an
// alias as a colon, unless a named fragment hides it, which the text leaves
// unopened. So a selection with either about, or with a directive that may skip
// a field, is not trusted.
func (c *call) selectsAll() bool {
	var list []string
	var graphQL string
	if json.Unmarshal(c.Info.SelectionSetList, &list) != nil || json.Unmarshal(c.Info.SelectionSetGraphQL, &graphQL) != nil {
		return false
	}
	if strings.ContainsAny(graphQL, ":.@") {
		return false
	}
	for _, name := range forSubscribers {
		if !slices.Contains(list, name) {
			return false
		}
	}
	return true
}
