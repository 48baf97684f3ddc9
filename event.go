package presence

import "context"

// EventSource is the source of every event this API publishes.
const EventSource = "api.presence"

// DetailType returns the detail-type of events about a change.
func (c Change) DetailType() string { return "presence." + string(c) }

// Event is one change of one user. Its JSON is the detail of an EventBridge
// event. Events arrive at least once and in no order: of the events about a
// user, keep the one with the greatest AsOf.
type Event struct {
	// Change goes into the detail-type.
	Change   Change `json:"-"`
	UserID   string `json:"userId"`
	Status   Status `json:"status"`
	AsOf     Time   `json:"asOf"`
	LastSeen Time   `json:"lastSeen"`
	Reason   Reason `json:"reason"`
}

// EventOf returns the event that announces a state with a note.
func EventOf(s State) Event {
	return Event{Change: s.Change, UserID: s.UserID, Status: s.Status, AsOf: s.AsOf, LastSeen: s.LastSeen, Reason: s.Reason}
}

// Publisher publishes events. It is safe for concurrent use.
type Publisher interface {
	// Publish publishes each event at least once or counts it as failed. The error
	// is the first cause of a failure.
	Publish(ctx context.Context, events []Event) (failed int, err error)
}
