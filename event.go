package presence

import "fmt"

// EventSource is the source of every event this API publishes.
const EventSource = "api.presence"

// The detail-types of the events.
const (
	DetailTypeConnected    = "presence.connected"
	DetailTypeDisconnected = "presence.disconnected"
)

// Event is the detail of an event. Events arrive at least once and in no
// order: whoever consumes them keeps, for each user, the one with the greatest
// AsOf.
type Event struct {
	UserID   string `json:"userId"`
	Status   Status `json:"status"`
	AsOf     Time   `json:"asOf"`
	LastSeen Time   `json:"lastSeen"`
	Reason   Reason `json:"reason"`
	// Announced says that AppSync's subscribers are told by the mutation that
	// made the change. Where it is false, an [Announcement] tells them.
	Announced bool `json:"announced"`
}

// DetailType returns the detail-type e goes by.
func (e Event) DetailType() string {
	if e.Status == Online {
		return DetailTypeConnected
	}
	return DetailTypeDisconnected
}

// Announcement is the way back from EventBridge to AppSync's subscribers: a
// rule, and the mutation that is its target. Its resolver reads the user's
// state and answers with that, so the event only says whom to look at. The CDK
// stack deploys these; the local EventBridge runs them.
type Announcement struct {
	// Field is the Mutation field the target calls.
	Field string
	// DetailType is the one the rule matches.
	DetailType string
}

// Announcements returns the two there are.
func Announcements() []Announcement {
	return []Announcement{
		{Field: "connected", DetailType: DetailTypeConnected},
		{Field: "disconnected", DetailType: DetailTypeDisconnected},
	}
}

// EventPattern returns the rule's event pattern as JSON.
func (a Announcement) EventPattern() string {
	return fmt.Sprintf(`{"source":[%q],"detail-type":[%q],"detail":{"announced":[false]}}`, EventSource, a.DetailType)
}

// Operation returns the GraphQL operation of the target. Subscribers receive
// just the fields it selects, so it selects all of Presence.
func (a Announcement) Operation() string {
	return fmt.Sprintf("mutation Announce($userId: ID!) { %s(userId: $userId) { userId status url title lastSeen asOf expiresAt heartbeatIntervalMs } }", a.Field)
}

// InputPaths and InputTemplate are the target's input transformer: they make
// the operation's variables from the event.
func (Announcement) InputPaths() map[string]string {
	return map[string]string{"userId": "$.detail.userId"}
}

// InputTemplate is described at [Announcement.InputPaths].
func (Announcement) InputTemplate() string { return `{"userId":<userId>}` }
