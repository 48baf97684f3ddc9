// Package presence is the domain of the presence API: who is online, on which
// page, and since when.
//
// The packages around it each speak one technology and talk to each other in
// the types of this one: resolvers answers AppSync, internal/redisstore keeps
// the state in Redis, internal/eventbus publishes changes to EventBridge, and
// internal/local is the half of AWS that a laptop lacks.
package presence

import "reflect"

// Status says whether a user is there.
type Status string

// The two values of the schema's Status.
const (
	Online  Status = "online"
	Offline Status = "offline"
)

// Presence is the schema's Presence. URL and Title are nil when the user is
// offline or the page is not shown. [Fields] lists its fields.
type Presence struct {
	UserID              string  `json:"userId"`
	Status              Status  `json:"status"`
	URL                 *string `json:"url"`
	Title               *string `json:"title"`
	LastSeen            Time    `json:"lastSeen"`
	AsOf                Time    `json:"asOf"`
	ExpiresAt           Time    `json:"expiresAt"`
	HeartbeatIntervalMs int64   `json:"heartbeatIntervalMs"`
	// Topics are what subscribers filter by. Only the announcing mutations fill
	// them in.
	Topics []string `json:"topics"`
}

// Fields returns the names of Presence's fields in the schema. It is the one
// list of them: operations that need every field are made from it.
func Fields() []string {
	var names []string
	for f := range reflect.TypeFor[Presence]().Fields() {
		names = append(names, f.Tag.Get("json"))
	}
	return names
}

// Reason says what changed a user's status or page.
type Reason string

// The reasons, as events carry them.
const (
	ReasonConnect    Reason = "connect"
	ReasonHeartbeat  Reason = "heartbeat"
	ReasonDisconnect Reason = "disconnect"
	ReasonTimeout    Reason = "timeout"
)
