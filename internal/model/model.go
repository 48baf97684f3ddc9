// Package model keeps presence in memory: the specification that stores are
// tested against.
package model

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"presence"
)

// Store is a [presence.Store] in memory, simple enough to be believed: what
// the store on Redis does is held against it. It is safe for concurrent use.
type Store struct {
	presence.Timing
	// Now is its clock.
	Now func() presence.Time
	// Lease and Away are as redisstore's options.
	Lease, Away time.Duration

	mu             sync.Mutex
	users          map[string]*user
	asOf           presence.Time
	swept, resumed presence.Time
}

var _ presence.Store = (*Store)(nil)

// user is all that is kept of one user. Nothing in it is a status: a
// session is there while it has not expired, and the user while one is.
type user struct {
	expires map[string]presence.Time // session -> when it expires
	page    presence.Page
	owner   string // the session whose page it is; the page goes with it
	online  bool   // as last written: a sweep has yet to find out
	seen    presence.Time

	note, due presence.Time
	change    presence.Change
	reason    presence.Reason
}

// longestLease is the most redisstore waits with a note.
const longestLease = time.Minute

func millis(d time.Duration) presence.Time { return presence.Time(d.Milliseconds()) }

// begin starts an operation and returns its user.
func (m *Store) begin(userID string) (*user, presence.Time) {
	if m.users == nil {
		m.users = map[string]*user{}
	}
	u := m.users[userID]
	if u == nil {
		u = &user{expires: map[string]presence.Time{}}
		m.users[userID] = u
	}
	now := m.Now()
	m.asOf = max(m.asOf+1, now)
	return u, now
}

// end returns when the last of the user's sessions expires.
func (u *user) end() (end presence.Time) {
	for _, expires := range u.expires {
		end = max(end, expires)
	}
	return end
}

// written leaves a note of a change, if there was one, and returns the state
// that a write answers.
func (m *Store) written(userID string, u *user, now, due presence.Time, change presence.Change, reason presence.Reason) presence.State {
	if change != presence.NoChange {
		u.write(m.asOf, due, change, reason)
	}
	state := m.state(userID, u, now)
	state.Change, state.Reason = change, reason
	if change == presence.NoChange {
		state.Note = 0
	}
	return state
}

// write leaves a note. A change of page after a connect nobody has acknowledged
// is still announced as a connect.
func (u *user) write(asOf, due presence.Time, change presence.Change, reason presence.Reason) {
	if u.note == 0 || change != presence.Changed {
		u.change = change
	}
	u.note, u.due, u.reason = asOf, due, reason
}

// state returns what is known of u now.
func (m *Store) state(userID string, u *user, now presence.Time) presence.State {
	p := presence.Presence{UserID: userID, Status: presence.Offline, AsOf: m.asOf, LastSeen: u.seen, HeartbeatIntervalMs: m.Heartbeat.Milliseconds()}
	if end := u.end(); end > now {
		p.Status, p.ExpiresAt = presence.Online, end
		if u.expires[u.owner] > now && u.page.URL != "" {
			page := u.page
			p.URL, p.Title = &page.URL, &page.Title
		}
	}
	return presence.State{Presence: p, Note: u.note, Change: u.change, Reason: u.reason}
}

// Touch implements [presence.Store].
func (m *Store) Touch(_ context.Context, b presence.Beat) (presence.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, now := m.begin(b.UserID)
	alive := u.end() > now
	shown := u.expires[u.owner] > now
	takes := b.Reason == presence.ReasonConnect || !shown || u.owner == b.SessionID
	changed := takes && (!shown || u.page != b.Page)
	u.expires[b.SessionID] = now + millis(m.Timeout)
	if takes {
		u.page, u.owner = b.Page, b.SessionID
	}
	u.online, u.seen = true, now
	change := presence.NoChange
	switch {
	case !alive:
		change = presence.Connected
	case changed:
		change = presence.Changed
	}
	return m.written(b.UserID, u, now, now+millis(m.Lease), change, b.Reason), nil
}

// Leave implements [presence.Store].
func (m *Store) Leave(_ context.Context, l presence.Leave) (presence.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, now := m.begin(l.UserID)
	change := presence.NoChange
	if expires := u.expires[l.SessionID]; expires > now {
		u.seen = now
		u.expires[l.SessionID] = min(expires, now+presence.Time(l.GraceMs))
		if u.end() <= now {
			u.online, change = false, presence.Disconnected
		}
	}
	return m.written(l.UserID, u, now, now+millis(m.Lease), change, presence.ReasonDisconnect), nil
}

// Status implements [presence.Store].
func (m *Store) Status(_ context.Context, userIDs []string) ([]presence.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var states []presence.State
	for _, id := range userIDs {
		u, now := m.begin(id)
		states = append(states, m.state(id, u, now))
	}
	return states, nil
}

// Acknowledge implements [presence.Store].
func (m *Store) Acknowledge(_ context.Context, userID string, note presence.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u, _ := m.begin(userID); u.note == note {
		u.write(0, 0, presence.NoChange, "")
	}
	return nil
}

// Sweep implements [presence.Store].
func (m *Store) Sweep(context.Context) (presence.Sweep, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, now := m.begin("")
	away := m.swept != 0 && now-m.swept > millis(m.Away)
	if away && m.resumed != m.swept && now-m.resumed > 2*millis(m.Timeout) {
		m.resumed = now
	}
	m.swept = now
	sweep := presence.Sweep{Next: m.Timeout}
	for _, id := range slices.Sorted(maps.Keys(m.users)) {
		u := m.users[id]
		if u.online && u.end() <= now && m.resumed+millis(m.Timeout) <= now {
			u.online = false
			u.write(m.asOf, now, presence.Disconnected, presence.ReasonTimeout)
			sweep.Expired++
		}
		if u.note != 0 && u.due <= now {
			u.due = now + min(max(now-u.note, millis(m.Lease)), millis(longestLease))
			sweep.Due = append(sweep.Due, m.state(id, u, now))
		}
		if !u.online && u.seen <= now-millis(m.Retention) {
			u.seen = 0
		}
		if u.online {
			sweep.Online++
		}
		if u.note != 0 {
			sweep.Unannounced++
		}
	}
	return sweep, nil
}

// Clone returns a copy that goes its own way.
func (m *Store) Clone() *Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Store{Timing: m.Timing, Now: m.Now, Lease: m.Lease, Away: m.Away, asOf: m.asOf, swept: m.swept, resumed: m.resumed, users: map[string]*user{}}
	for id, u := range m.users {
		copied := *u
		copied.expires = maps.Clone(u.expires)
		c.users[id] = &copied
	}
	return c
}
