package redisstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"presence"
)

// errReply is in the error of every reply that is not as expected.
var errReply = errors.New("unexpected reply")

// reply reads what a script returned, one value after the other. The first value
// that is missing or of another type is an error. It is kept, and what is read
// after it is zero.
type reply struct {
	rest []any
	err  error
}

func (r *reply) next() (value any) {
	if r.err == nil && len(r.rest) == 0 {
		r.err = fmt.Errorf("%w: it is too short", errReply)
	}
	if r.err != nil {
		return nil
	}
	value, r.rest = r.rest[0], r.rest[1:]
	return value
}

func (r *reply) number() int64 {
	value := r.next()
	n, ok := value.(int64)
	if !ok {
		r.unexpected(value, "a number")
	}
	return n
}

// text reads a text. Nil is "".
func (r *reply) text() string {
	value := r.next()
	s, ok := value.(string)
	if !ok && value != nil {
		r.unexpected(value, "a text")
	}
	return s
}

func (r *reply) list() []any {
	value := r.next()
	list, ok := value.([]any)
	if !ok {
		r.unexpected(value, "a list")
	}
	return list
}

func (r *reply) unexpected(value any, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %T where %s should be", errReply, value, want)
	}
}

func (r *reply) time() presence.Time     { return presence.Time(r.number()) }
func (r *reply) count() int              { return int(r.number()) }
func (r *reply) duration() time.Duration { return time.Duration(r.number()) * time.Millisecond }

// userReply is what scripts say of a user. A user who is offline has no expiresAt.
type userReply struct {
	asOf, lastSeen, expiresAt presence.Time
	page                      string // see page.lua; "" is none
}

func (r *reply) times() userReply {
	return userReply{asOf: r.time(), lastSeen: r.time(), expiresAt: r.time()}
}

func (r *reply) user() userReply {
	u := r.times()
	u.page = r.text()
	return u
}

// beatReply decodes what beat.lua returns, for a beat on a page.
func beatReply(value any, page string, timeout time.Duration) (u userReply, err error) {
	if asOf, ok := value.(int64); ok {
		u.asOf, u.lastSeen, u.page = presence.Time(asOf), presence.Time(asOf), page
	} else {
		r := reply{rest: []any{value}}
		r = reply{rest: r.list(), err: r.err}
		u = userReply{asOf: r.time(), lastSeen: r.time(), page: r.text()}
		err = r.err
	}
	u.expiresAt = u.lastSeen + presence.Time(timeout.Milliseconds())
	return u, err
}

// writeReply is what touch.lua and leave.lua return.
type writeReply struct {
	userReply
	change presence.Change
}

func (r *reply) write() writeReply {
	return writeReply{r.user(), presence.Change(r.text())}
}

// note is a note of an unannounced change. The zero note is none.
type note struct {
	asOf   presence.Time
	change presence.Change
	reason presence.Reason
}

// note reads "asOf change reason", or nil.
func (r *reply) note() note {
	text := r.text()
	if text == "" {
		return note{}
	}
	at, rest, _ := strings.Cut(text, " ")
	change, reason, ok := strings.Cut(rest, " ")
	asOf, err := strconv.ParseInt(at, 10, 64)
	if (err != nil || !ok) && r.err == nil {
		r.err = fmt.Errorf("%w: the note %q is not of the form \"asOf change reason\"", errReply, text)
	}
	return note{presence.Time(asOf), presence.Change(change), presence.Reason(reason)}
}

// statusReply is what status.lua returns, and statuses.lua for each user.
type statusReply struct {
	userReply
	note note
}

func (r *reply) status() statusReply { return statusReply{r.user(), r.note()} }

// dueReply is a note that sweep.lua handed out.
type dueReply struct {
	userID string
	userReply
	note note
}

// sweepReply is what sweep.lua returns.
type sweepReply struct {
	due                    []dueReply
	next                   time.Duration // negative: nothing is known to be due
	expired, online, notes int
	lag, oldestNote        time.Duration
}

func (r *reply) sweep() sweepReply {
	due := reply{rest: r.list()}
	s := sweepReply{
		next:    r.duration(),
		expired: r.count(), online: r.count(), notes: r.count(),
		lag: r.duration(), oldestNote: r.duration(),
	}
	for len(due.rest) > 0 && due.err == nil {
		s.due = append(s.due, dueReply{due.text(), due.times(), due.note()})
	}
	if r.err == nil {
		r.err = due.err
	}
	return s
}

// parsePage decodes a page (see page.lua), with or without a mark at its end. A
// page that is not shown is nil.
func parsePage(text string) (url, title *string) {
	_, page, _ := strings.Cut(text, "\n")
	u, t, _ := strings.Cut(strings.TrimSuffix(page, "\n"), "\n")
	if u == "" {
		return nil, nil
	}
	return &u, &t
}
