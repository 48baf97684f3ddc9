package sim

import (
	"encoding/json"
	"time"

	"presence"
)

// watcher is somebody who looks at all users.
type watcher struct {
	w       *world
	name    string
	patient bool // never asks again, unless the socket was gone
	socket  int  // number of the connection, 0 while there is none
	sockets int
	since   time.Duration // when it subscribed
	asked   bool          // a query has been answered since
	view    map[string]presence.Presence
	heard   map[string]time.Duration // when the view was last changed
	tainted map[string]time.Duration // when a message about a user was lost
}

func newWatcher(w *world, n int) *watcher {
	v := &watcher{
		w: w, name: "watcher" + string(rune('0'+n)), patient: w.Patient || n%2 == 0 && !w.Steady,
		view: map[string]presence.Presence{}, heard: map[string]time.Duration{}, tainted: map[string]time.Duration{},
	}
	w.after(w.between(0, time.Second), v.open)
	return v
}

// open subscribes and then queries, so that nothing is missed in between.
func (v *watcher) open() {
	w := v.w
	if w.Naive.QueryFirst {
		v.query()
		w.after(w.between(500*time.Millisecond, 2*time.Second), func() {
			v.sockets++
			v.socket = v.sockets
		})
		return
	}
	w.after(w.between(20*time.Millisecond, 200*time.Millisecond), func() {
		v.sockets++
		v.socket, v.since, v.asked = v.sockets, w.now, false
		w.log(v.name, "is subscribed")
		v.query()
		if !v.patient {
			v.requery(v.socket)
		}
	})
}

// requery asks at leisure about people who should have been heard of.
func (v *watcher) requery(socket int) {
	v.w.after(v.w.between(20*time.Second, 30*time.Second), func() {
		if v.socket != socket {
			return
		}
		for _, u := range v.w.users {
			p := v.view[u.id]
			if p.Status == presence.Online && v.w.now-v.heard[u.id] > time.Duration(p.ExpiresAt-p.AsOf)*time.Millisecond {
				v.query()
				break
			}
		}
		v.requery(socket)
	})
}

// query asks about everybody, until answered.
func (v *watcher) query() {
	w := v.w
	var ids []string
	for _, u := range w.users {
		ids = append(ids, u.id)
	}
	if len(ids) == 0 {
		return
	}
	socket := v.socket
	arguments, _ := json.Marshal(map[string][]string{"userIds": ids})
	w.after(w.between(10*time.Millisecond, 100*time.Millisecond), func() {
		asked := w.now
		w.appsync(call{caller: "watcher", field: "statuses", arguments: arguments}, func(reply []byte, err error) {
			if err == nil && w.fault("network loss", w.NetLost) {
				err = errAPI
			}
			if err != nil {
				w.after(w.between(time.Second, 3*time.Second), func() {
					if v.socket == socket || w.Naive.QueryFirst {
						v.query()
					}
				})
				return
			}
			var all []presence.Presence
			if err := json.Unmarshal(reply, &all); err != nil {
				panic(err)
			}
			w.after(w.between(10*time.Millisecond, 100*time.Millisecond), func() {
				v.asked = v.asked || v.socket == socket
				for _, p := range all {
					v.learn(p, "asked")
					if v.tainted[p.UserID] <= asked {
						delete(v.tainted, p.UserID)
					}
				}
			})
		})
	})
}

// push is AppSync sending a message.
func (v *watcher) push(p presence.Presence) {
	w := v.w
	if v.socket == 0 || w.fault("push lost", w.PushLost) {
		// Who queries before subscribing does not know of having missed anything.
		if !w.Naive.QueryFirst {
			v.taint(p.UserID)
		}
		return
	}
	socket := v.socket
	w.after(w.between(5*time.Millisecond, 300*time.Millisecond), func() {
		if v.socket != socket {
			v.taint(p.UserID)
			return
		}
		v.learn(p, "told")
	})
}

// learn keeps what is newest.
func (v *watcher) learn(p presence.Presence, how string) {
	old, known := v.view[p.UserID]
	if known && p.AsOf <= old.AsOf && !v.w.Naive.LastWins {
		return
	}
	v.view[p.UserID], v.heard[p.UserID] = p, v.w.now
	v.w.log(v.name, "is %s: %s", how, show(p))
	if p.Status == presence.Offline && (!known || old.Status == presence.Online) {
		v.w.detected(p.UserID)
	}
}

// taint notes that the watcher has missed a message and cannot know better
// until it asks.
func (v *watcher) taint(userID string) { v.tainted[userID] = v.w.now }

func (w *world) taintAll(userID string) {
	for _, v := range w.watchers {
		v.taint(userID)
	}
}

func (v *watcher) loseSocket() {
	w := v.w
	w.injected("watcher's socket lost")
	v.socket = 0
	w.after(w.between(0, time.Minute), func() {
		if v.socket == 0 {
			v.open()
		}
	})
}

// settle has the watcher back.
func (v *watcher) settle() {
	if v.socket == 0 {
		v.open()
	}
}
