package presence

import (
	"context"
	"time"
)

// Change says how a user's presence changed. Its values are the last part of an
// event's detail-type.
type Change string

// The changes. NoChange is the zero Change.
const (
	NoChange     Change = ""
	Connected    Change = "connected"
	Disconnected Change = "disconnected"
	// Changed is a change of a user who stays online, such as another page.
	Changed Change = "changed"
)

// State is a Presence and the note, if any, that it has yet to be announced.
type State struct {
	Presence
	// Note is the asOf of the latest change that nobody has acknowledged, or zero.
	// [Store.Acknowledge] takes it.
	Note Time
	// Change and Reason say what changed and what caused it. They belong to Note.
	Change Change
	Reason Reason
}

// Store keeps presence. Every method is safe for concurrent use, is atomic for
// each user, and answers within its context's deadline. A store that cannot be
// reached is an [Error] of code [Unavailable].
//
// A method that changes a user's status or page leaves, in the same atomic
// step, a note that the user is to be announced. The note falls due, again and
// again, until it is acknowledged.
type Store interface {
	// Touch records a beat. The state has a note only if this beat changed
	// something.
	Touch(ctx context.Context, beat Beat) (State, error)
	// Leave ends a session. A session that is not there is no error. The state has
	// a note only if this call changed something.
	Leave(ctx context.Context, leave Leave) (State, error)
	// Status reads users, in the order asked.
	Status(ctx context.Context, userIDs []string) ([]State, error)
	// Acknowledge removes the user's note if it is still the one given.
	Acknowledge(ctx context.Context, userID string, note Time) error
	// Sweep takes expired users offline and returns the states whose notes are
	// due. Each note goes to one caller at a time.
	Sweep(ctx context.Context) (Sweep, error)
}

// Sweep is what one pass over the store found.
type Sweep struct {
	// Due are the states to be announced now.
	Due []State
	// Next is how long until something may be due again. Zero means that more is
	// due already.
	Next time.Duration
	// Expired is how many users the pass took offline, Online how many are left
	// online, and Unannounced how many notes there are in all.
	Expired, Online, Unannounced int
	// Lag is how late the latest-found expiry was. OldestNote is the age of the
	// oldest note that is due.
	Lag, OldestNote time.Duration
}
