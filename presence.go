// Package presence is the domain of the presence API: who is online, on which
// page, and since when.
//
// The packages around it each speak one technology and talk to each other in
// the types of this one: resolvers answers AppSync, internal/redisstore keeps
// the state in Redis, internal/eventbus publishes changes to EventBridge, and
// internal/local is the half of AWS that a laptop lacks.
package presence

import (
	"context"
	_ "embed"
	"strconv"
	"time"
)

// Schema is schema.graphql: what AppSync is deployed with, what the local
// server serves, and what the resolvers' routes are tested against.
//
//go:embed schema.graphql
var Schema string

// Status says whether a user is there.
type Status string

// The two values of the schema's Status.
const (
	Online  Status = "online"
	Offline Status = "offline"
)

// Time is a moment of the Redis clock in milliseconds since the Unix epoch.
// Zero means none and is JSON null; otherwise its JSON is an AWSDateTime in
// UTC with milliseconds, so that the strings sort as the moments do.
type Time int64

// TimeOf returns t as a Time.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Time returns t in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// String returns t as an AWSDateTime.
func (t Time) String() string { return string(t.append(nil)) }

// append appends the AWSDateTime. Every answer has three, and the time package is
// much quicker with this layout of its own than with one that has milliseconds.
func (t Time) append(b []byte) []byte {
	at := t.Time()
	ms := at.Nanosecond() / 1e6
	b = at.AppendFormat(b, time.RFC3339)
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// MarshalJSON implements [encoding/json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(`"2006-01-02T15:04:05.000Z"`))
	b = append(b, '"')
	b = t.append(b)
	return append(b, '"'), nil
}

// UnmarshalJSON implements [encoding/json.Unmarshaler]. It takes any RFC 3339
// time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return err
	}
	*t = TimeOf(at)
	return nil
}

// Presence is the schema's Presence. URL and Title are nil when the user is
// offline or the page is not shown.
type Presence struct {
	UserID              string  `json:"userId"`
	Status              Status  `json:"status"`
	URL                 *string `json:"url"`
	Title               *string `json:"title"`
	LastSeen            Time    `json:"lastSeen"`
	AsOf                Time    `json:"asOf"`
	ExpiresAt           Time    `json:"expiresAt"`
	HeartbeatIntervalMs int64   `json:"heartbeatIntervalMs"`
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

// Page is what a session reports to be on. The zero Page is one that is not
// shown.
type Page struct {
	URL, Title string
}

// State is a Presence and the note, if any, that it has yet to be announced.
type State struct {
	Presence
	// Note is the asOf of the latest change nobody has acknowledged announcing,
	// or zero. It is what [Store.Acknowledge] takes.
	Note Time
	// Reason is what made that change.
	Reason Reason
	// StatusChanged tells, after a write, a change of status from a mere change of
	// page.
	StatusChanged bool
}

// Store keeps presence. Every method is safe for concurrent use, is atomic for
// each user, and answers within its context's deadline; a store out of reach
// is an [Error] of code [Unavailable].
//
// A method that changes a user's status or page leaves, in the same atomic
// step, a note that the user is to be announced. The note falls due, again and
// again, until it is acknowledged.
type Store interface {
	// Touch records a sign of life of one session. With ReasonConnect the page
	// is the session's from now on and is the one shown; with ReasonHeartbeat it
	// is shown only if this session's page was, or no living session's is.
	Touch(ctx context.Context, userID, sessionID string, page Page, reason Reason) (State, error)
	// Leave ends a session, or lets it expire in grace unless it comes back. A
	// session that is not there is no error.
	Leave(ctx context.Context, userID, sessionID string, grace time.Duration) (State, error)
	// Status reads users in the order asked.
	Status(ctx context.Context, userIDs []string) ([]State, error)
	// Acknowledge removes the user's note if it is still the one given.
	Acknowledge(ctx context.Context, userID string, note Time) error
	// Sweep takes expired users offline and hands out the states whose notes are
	// due, each note to one caller at a time.
	Sweep(ctx context.Context) (Sweep, error)
}

// Sweep is what one pass over the store found.
type Sweep struct {
	// Due are the states to be announced now.
	Due []State
	// Next is how long until something may be due again: zero if something is
	// left already.
	Next time.Duration
	// Expired is how many users the pass took offline, Online how many are left
	// online, and Unannounced how many notes there are in all.
	Expired, Online, Unannounced int
	// Lag is how late the latest-found expiry was, OldestNote the age of the
	// oldest note that is due.
	Lag, OldestNote time.Duration
}

// Publisher publishes events. It is safe for concurrent use.
type Publisher interface {
	// Publish publishes each event at least once or counts it as failed; err is
	// then the first cause.
	Publish(ctx context.Context, events []Event) (failed int, err error)
}
