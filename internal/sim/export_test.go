package sim

import (
	"fmt"
	"time"
)

// Script is a history in which nothing happens by chance but the length of
// steps: sweeps run, watchers watch, and the script decides the rest.
type Script struct{ w *world }

// RunScript runs the history that script writes.
func RunScript(p Plan, script func(Script)) (Result, error) {
	return run(p, true, func(w *world) {
		w.after(0, w.schedule)
		for i := range w.Watchers {
			w.watchers = append(w.watchers, newWatcher(w, i))
		}
		for i := range w.Users {
			w.users = append(w.users, &user{w: w, id: fmt.Sprintf("user%d", i)})
		}
		script(Script{w})
		w.startChecks()
	})
}

// At has something happen at a time.
func (s Script) At(at time.Duration, do func()) { s.w.after(at-s.w.now, do) }

// Connect opens a tab of a user, and Leave closes it.
func (s Script) Connect(user int) {
	u := s.w.users[user]
	u.opened++
	t := &tab{u: u, session: fmt.Sprint("tab", u.opened), open: true, clock: 1}
	u.tabs = append(u.tabs, t)
	t.navigate()
}

// Leave is described at [Script.Connect].
func (s Script) Leave(user int, grace time.Duration) { s.w.users[user].tabs[0].close(grace) }

// FailOver has Redis lose nothing, but be away for a while.
func (s Script) FailOver(down time.Duration) { s.w.replace(0, down) }

// LoseCalls has the network lose that part of calls from now on.
func (s Script) LoseCalls(p float64) { s.w.NetLost = p }

// Payload is what the function is invoked with for a call. No caller is IAM.
func Payload(caller, field string, arguments []byte) []byte {
	return call{caller: caller, field: field, arguments: arguments}.payload()
}
