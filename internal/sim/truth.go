package sim

import (
	"context"
	"time"

	"presence"
)

// fact is what the model says of a user.
type fact struct {
	sure   bool // not within slack of a change
	status presence.Status
	page   string
}

// apply tells the model what Redis is about to do.
func (w *world) apply(inv *invocation) {
	if w.Unchecked {
		return
	}
	w.at = w.now
	op := inv.op
	ctx := context.Background()
	switch {
	case op.Reason == acknowledging:
		inv.acked = true
		return
	case op.Leave:
		_, _ = w.truth.Leave(ctx, presence.Leave{UserID: op.UserID, SessionID: op.SessionID, GraceMs: op.GraceMs})
	case op.UserID != "":
		// Whether the shown page's session has just expired decides whether this one
		// takes over.
		if op.Reason == presence.ReasonConnect {
			delete(w.check.vague, op.UserID)
		} else if !w.fact(op.UserID).sure {
			w.check.vague[op.UserID] = true
		}
		w.at = w.now
		_, _ = w.truth.Touch(ctx, presence.Beat{UserID: op.UserID, SessionID: op.SessionID, Page: op.Page, Reason: op.Reason})
		if inv.tab != nil {
			inv.tab.applied = true
		}
	}
	w.check.order++
	inv.order = w.check.order
	inv.known = map[string]fact{}
	for _, u := range w.users {
		f := w.fact(u.id)
		inv.known[u.id] = f
		if f != w.check.facts[u.id] {
			w.check.facts[u.id], w.check.since[u.id] = f, w.now
		}
	}
}

// fact asks the model what is true now.
func (w *world) fact(userID string) fact {
	look := func(at time.Duration) fact {
		w.at = at
		states, _ := w.truth.Status(context.Background(), []string{userID})
		return fact{true, states[0].Status, page(states[0].Presence)}
	}
	early, late := look(w.now-slack), look(w.now+slack)
	if late.status == presence.Online {
		delete(w.check.offline, userID)
	} else if _, ok := w.check.offline[userID]; !ok {
		w.check.offline[userID] = w.now
	}
	lasting := w.now < w.stepped && w.now-max(w.check.offline[userID], w.disturbed) < 2*w.Timeout+w.Schedule
	late.sure = early == late && (late.status == presence.Online || !lasting)
	return late
}

func page(p presence.Presence) string {
	if p.URL == nil {
		return ""
	}
	return *p.URL
}

// vaguePage says that the page shown is known from answers alone.
func (w *world) vaguePage(userID string) bool { return w.TwoRedis || w.check.vague[userID] }
