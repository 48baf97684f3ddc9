package sim

import (
	"slices"
	"time"

	"presence"
)

// published counts timeouts of people who were there.
func (w *world) published(e presence.Event) {
	for _, u := range w.users {
		if u.id != e.UserID {
			continue
		}
		offline := e.Status == presence.Offline
		if offline && !u.saidOffline && slices.ContainsFunc(u.tabs, func(t *tab) bool { return !t.asleep }) {
			w.result.FalseOffline++
		}
		u.saidOffline = offline
	}
}

// detected measures how long a crash took to be known.
func (w *world) detected(userID string) {
	for _, u := range w.users {
		if u.id == userID && u.crashed > 0 {
			w.result.Detection = append(w.result.Detection, w.now-u.crashed)
		}
	}
}

// measure adds up how long people were there.
func (w *world) measure() {
	if !w.quiet {
		w.after(time.Second, w.measure)
	}
	for _, u := range w.users {
		if len(u.tabs) > 0 {
			w.result.Online += time.Second
		}
	}
}

// checkLost counts users that went and are still believed to be there, and users
// that are there and are believed to have gone.
func (w *world) checkLost() {
	for _, u := range w.users {
		for _, v := range w.watchers {
			switch online := v.view[u.id].Status == presence.Online; {
			case u.crashed > 0 && online:
				w.result.Lost++
			case u.crashed == 0 && !online:
				w.result.Stuck++
			}
		}
	}
}
