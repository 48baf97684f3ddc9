package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// user is a person with tabs.
type user struct {
	w           *world
	id          string
	tabs        []*tab
	opened      int
	saidOffline bool
	crashed     time.Duration // when the last tab went, in steady histories
}

// tab is a tab or a device: one session.
type tab struct {
	u       *user
	session string
	page    string
	open    bool
	asleep  bool
	applied bool    // the server has heard of it
	clock   float64 // how fast its clock runs
	calls   int     // number of the latest call
	timer   int     // number of the latest heartbeat timer
}

// newTab opens a tab and, where not all is steady, gives it a life.
func (u *user) newTab() {
	w := u.w
	if w.quiet {
		return
	}
	u.opened++
	t := &tab{u: u, session: fmt.Sprint("tab", u.opened), open: true, clock: 1}
	if w.rand.IntN(4) == 0 && !slices.ContainsFunc(u.tabs, func(t *tab) bool { return t.session == "" }) {
		t.session = ""
	}
	if w.WrongClock {
		w.result.Injected["client's clock wrong"]++
		t.clock = 0.95 + 0.1*w.rand.Float64()
	}
	u.tabs = append(u.tabs, t)
	t.navigate()
	if !w.Steady {
		w.after(t.span(), t.act)
		return
	}
	if slices.Index(w.users, u)%2 == 1 {
		w.after(w.between(w.Active/3, w.Active/2), func() {
			u.crashed = w.now
			w.result.Departures++
			t.crash()
		})
	}
}

// span is how long until a tab's next act.
func (t *tab) span() time.Duration { return t.u.w.between(200*time.Millisecond, t.u.w.Timeout) }

// act is one thing that people do.
func (t *tab) act() {
	w := t.u.w
	if w.quiet || !t.open {
		return
	}
	again := func() { w.after(w.between(0, 2*w.Timeout), t.u.newTab) }
	switch n := w.rand.IntN(20); {
	case n < 8:
		if !t.asleep {
			t.navigate()
		}
	case n < 10:
		t.close(0)
		again()
	case n < 12:
		t.close(5 * time.Second)
		again()
	case n < 14: // a reload, or a link to the next page
		t.close(5 * time.Second)
		w.after(w.between(100*time.Millisecond, 4*time.Second), t.u.newTab)
	case n < 16:
		t.crash()
		again()
	case n < 18:
		if w.Sleep && !t.asleep {
			t.sleep(w.between(0, 3*w.Timeout))
		}
	}
	w.after(t.span(), t.act)
}

func (t *tab) name() string { return t.u.id + "/" + t.session }

func (t *tab) remove() {
	t.open = false
	t.u.tabs = slices.DeleteFunc(t.u.tabs, func(other *tab) bool { return other == t })
}

// crash ends a tab without a word.
func (t *tab) crash() {
	t.u.w.log(t.name(), "crashes")
	t.remove()
}

// close ends a tab, saying so once.
func (t *tab) close(grace time.Duration) {
	if t.asleep {
		t.crash()
		return
	}
	t.remove()
	arguments := map[string]any{"sessionId": t.session}
	if t.session == "" {
		delete(arguments, "sessionId")
	}
	if grace > 0 {
		arguments["graceMs"] = min(grace, t.u.w.Timeout).Milliseconds()
	}
	t.send("disconnect", arguments, func(error) {})
}

func (t *tab) sleep(d time.Duration) {
	w := t.u.w
	w.injected("computer sleeps")
	w.log(t.name(), "sleeps for %v", d)
	t.asleep = true
	w.after(d, func() {
		t.asleep = false
		if t.open {
			w.log(t.name(), "wakes")
			t.report("heartbeat")
		}
	})
}

// navigate opens a page.
func (t *tab) navigate() {
	t.page = fmt.Sprintf("https://site.example/%s/%d", strings.TrimPrefix(t.session, "tab"), t.u.w.rand.IntN(3))
	t.report("connect")
}

// report calls connect or heartbeat, and sets the timer for the next.
func (t *tab) report(field string) {
	t.calls++
	t.try(field, t.calls, 0)
	t.timer++
	timer := t.timer
	interval := time.Duration(float64(t.u.w.Heartbeat) * t.clock)
	t.u.w.after(t.u.w.between(interval*19/20, interval), func() {
		if t.timer == timer && t.open && !t.asleep {
			t.report("heartbeat")
		}
	})
}

// try sends a call and, if it fails and no newer one was made, tries again with
// back-off.
func (t *tab) try(field string, number, attempt int) {
	arguments := map[string]any{"url": t.page, "title": t.page[len("https://"):]}
	if t.session != "" {
		arguments["sessionId"] = t.session
	}
	w := t.u.w
	t.send(field, arguments, func(err error) {
		if err == nil || w.NoRetry && field == "heartbeat" {
			return
		}
		backoff := min(time.Second<<min(attempt, 10), w.Heartbeat)
		w.after(w.between(backoff/2, backoff), func() {
			if t.calls == number && t.open && !t.asleep {
				t.try(field, number, attempt+1)
			}
		})
	})
}

// send sends a call over the network.
func (t *tab) send(field string, arguments map[string]any, done func(error)) {
	w := t.u.w
	text, err := json.Marshal(arguments)
	if err != nil {
		panic(err)
	}
	w.log(t.name(), "%s %s", field, text)
	const patience = 5 * time.Second
	lost := w.fault("network loss", w.NetLost)
	if lost && (w.Steady || w.rand.IntN(2) == 0) {
		w.after(patience, func() { done(errAPI) })
		return
	}
	w.after(w.between(20*time.Millisecond, 150*time.Millisecond), func() {
		c := call{caller: t.u.id, field: field, arguments: text, user: t.u.id, tab: t}
		w.appsync(c, func(_ []byte, err error) {
			after := w.between(20*time.Millisecond, 150*time.Millisecond)
			if lost {
				after, err = patience, errAPI
			}
			w.after(after, func() { done(err) })
		})
	})
}

// settle ends people's doings: some go, those asleep wake or are left behind.
func (u *user) settle() {
	for _, t := range slices.Clone(u.tabs) {
		switch {
		case u.w.Steady:
		case t.asleep || u.w.rand.IntN(3) == 0:
			t.crash()
		}
	}
}
