package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"presence"
)

// What is checked, and what exactly it means here. The truth about a user is
// the reference model's: it is told of every connect, heartbeat and disconnect
// at the moment Redis does it, whether or not anybody hears the answer, and
// loses what Redis loses.
//
//	(1) A watcher that keeps the greatest asOf ends with the truth, status and
//	    page, without asking again. Excepted are watchers that AppSync has not
//	    sent an answer, that were not there to get it, or whose Lambda instance
//	    died after acknowledging; and all, after Redis has lost data. They end
//	    with the truth after the next query.
//	(2) No answer and no event says offline of a user with a session that had
//	    beaten within the timeout when Redis was asked. And where nothing keeps
//	    beats from arriving, none says it of a user with a tab open.
//	(3) Every departure, as every other change, is known to every watcher within
//	    a bound: that of an undisturbed platform if nothing has disturbed it,
//	    else that of the outbox's retries from the last disturbance. The seconds
//	    in which Redis is away, for a failover too, are a disturbance: nobody can
//	    read a change then. A watcher whose first query is not answered need not
//	    know of what was before it subscribed; of changes since, it is told.
//	(4) Answers about a user, in the order in which Redis was asked, never have
//	    an earlier asOf; and two with the same asOf say the same. With a Redis of
//	    its own for pages, the same status: the page is read a moment later.
//	(5) The outbox drains.
//	(6) After the retention only the shard's clock is left.
//	(7) An answer says online exactly while the user has a session.
//	(8) Every call that does not fail is answered with a Presence. Only those of
//	    connected and disconnected have topics.
//
// Statements hold but for slack around the moment a session expires: a beat's
// score is its asOf, which may be a little ahead of the time. When the clock has
// stepped back by d, sessions may last two timeouts longer until d has passed,
// counted from when sweeps run, never shorter.
const slack = 50 * time.Millisecond

// checker remembers what was answered.
type checker struct {
	order   int
	answers map[string][]answered
	said    map[string]map[presence.Time]string
	facts   map[string]fact
	since   map[string]time.Duration
	offline map[string]time.Duration // since when users are
	vague   map[string]bool          // users whose page the model is not sure of
}

// answered is an asOf and when Redis was asked.
type answered struct {
	order int
	asOf  presence.Time
}

func newChecker() checker {
	return checker{
		answers: map[string][]answered{},
		said:    map[string]map[presence.Time]string{},
		facts:   map[string]fact{},
		since:   map[string]time.Duration{},
		offline: map[string]time.Duration{},
		vague:   map[string]bool{},
	}
}

// checkAnswer holds an answer against what was true when Redis was asked.
func (w *world) checkAnswer(inv *invocation, field string, reply []byte) {
	if w.Unchecked {
		return
	}
	all := make([]*presence.Presence, 1)
	var err error
	if field == "statuses" {
		err = json.Unmarshal(reply, &all)
	} else {
		err = json.Unmarshal(reply, &all[0])
	}
	if err != nil {
		panic(err)
	}
	for _, p := range all {
		if p == nil {
			w.violate("(8) answers are whole", "%s is answered null", field)
			return
		}
		w.log(inv.name, "answers %s", show(*p))
		w.checkStatus(inv, p.UserID, p.Status, "an answer")
		f := inv.known[p.UserID]
		if f.sure && !w.vaguePage(p.UserID) && f.status == p.Status && f.page != page(*p) {
			w.violate("(1) the truth", "an answer says %s is on %q; the page is %q", p.UserID, page(*p), f.page)
		}
		if told := slices.Contains(announcing, field); !told && p.Topics != nil {
			w.violate("(8) answers are whole", "%s is answered the topics %v, which are for subscribers", field, p.Topics)
		}
		w.checkAsOf(inv.order, *p)
	}
}

// checkEvent does so with an event.
func (w *world) checkEvent(inv *invocation, e presence.Event) {
	if !w.Unchecked {
		w.checkStatus(inv, e.UserID, e.Status, "an event")
	}
}

func (w *world) checkStatus(inv *invocation, userID string, status presence.Status, what string) {
	f, asked := inv.known[userID]
	if !asked {
		return
	}
	if f.sure && f.status != status {
		if status == presence.Offline {
			w.violate("(2) nobody is falsely offline", "%s says offline of %s, who has a session", what, userID)
		} else {
			w.violate("(7) online exactly while a session is", "%s says online of %s, who has no session", what, userID)
		}
	}
	if status == presence.Online || w.beatsAreLost() {
		return
	}
	for _, u := range w.users {
		if u.id == userID && slices.ContainsFunc(u.tabs, func(t *tab) bool { return t.applied && !t.asleep }) && f.sure {
			w.violate("(2) nobody is falsely offline", "%s says offline of %s, who has a tab open that beats as it was told", what, userID)
		}
	}
}

// beatsAreLost says whether something may keep a client's beat from Redis.
func (w *world) beatsAreLost() bool {
	f := w.Faults
	return f.Kill+f.RedisCut+f.Slow+f.APIError+f.NetLost > 0 || f.RedisDown+f.Restart+f.Failover+f.ClockBack > 0 || f.Sleep
}

func (w *world) checkAsOf(order int, p presence.Presence) {
	if w.Naive.LastWins || p.AsOf == 0 {
		return
	}
	for _, other := range w.check.answers[p.UserID] {
		if (other.order < order && other.asOf > p.AsOf) || (other.order > order && other.asOf < p.AsOf) {
			w.violate("(4) asOf never runs backwards", "an answer about %s is as of %s, another as of %s, and Redis was asked the other way round", p.UserID, clock(p.AsOf), clock(other.asOf))
			return
		}
	}
	w.check.answers[p.UserID] = append(w.check.answers[p.UserID], answered{order, p.AsOf})
	said := w.check.said[p.UserID]
	if said == nil {
		said = map[presence.Time]string{}
		w.check.said[p.UserID] = said
	}
	text := string(p.Status)
	if !w.TwoRedis {
		text += " " + page(p)
	}
	if before, ok := said[p.AsOf]; ok && before != text {
		w.violate("(4) asOf never runs backwards", "of %s as of %s it was said %q and then %q", p.UserID, clock(p.AsOf), before, text)
	}
	said[p.AsOf] = text
}

// startChecks notes that everybody is offline from the beginning, and looks on
// from then.
func (w *world) startChecks() {
	for _, u := range w.users {
		w.check.facts[u.id] = w.fact(u.id)
	}
	w.after(time.Second, w.tick)
}

// tick looks every second whether watchers know what they should by now.
func (w *world) tick() {
	w.after(time.Second, w.tick)
	for _, u := range w.users {
		f := w.fact(u.id)
		if f != w.check.facts[u.id] || !f.sure {
			w.check.facts[u.id], w.check.since[u.id] = f, w.now
			continue
		}
		since, bound := w.check.since[u.id], w.bound()
		if w.disturbed > 0 {
			since, bound = max(since, w.disturbed), w.slowest()
		}
		if w.now-since > bound {
			for _, v := range w.watchers {
				if v.cannotKnow(u.id, w.check.since[u.id]) {
					continue
				}
				if doubt := w.doubt(v, u, f, false); doubt != "" {
					w.violate("(3) changes are known in time", "%s", doubt)
				}
			}
		}
	}
}

// cannotKnow reports whether a watcher has had no way yet to learn about a user:
// nothing has changed since it subscribed, so nobody had to tell it, and the
// network has lost the answers to its first queries.
func (v *watcher) cannotKnow(userID string, changed time.Duration) bool {
	_, known := v.view[userID]
	return !known && !v.asked && changed <= v.since
}

// doubt says where a watcher's belief about a user is not the truth.
func (w *world) doubt(v *watcher, u *user, f fact, asked bool) string {
	_, tainted := v.tainted[u.id]
	if v.socket == 0 || tainted && !asked {
		return ""
	}
	got := v.view[u.id]
	switch {
	case got.Status != f.status:
		return fmt.Sprintf("%s believes %s to be %q; the truth is %q", v.name, u.id, got.Status, f.status)
	case f.page == "":
		// Offline; or between the end of the session whose page was shown and the
		// next beat of another.
	case !w.vaguePage(u.id) && page(got) != f.page:
		return fmt.Sprintf("%s believes %s to be on %q; the truth is %q", v.name, u.id, page(got), f.page)
	}
	return ""
}

// firstDoubt says where some watcher's last word is not the truth. Where pages
// have a Redis of their own, the truth is what all watchers have been answered,
// and open in some tab.
func (w *world) firstDoubt(asked bool) string {
	for _, u := range w.users {
		f := w.fact(u.id)
		if !f.sure {
			return u.id + " is not at rest"
		}
		for _, v := range w.watchers {
			if doubt := w.doubt(v, u, f, asked); doubt != "" {
				return doubt
			}
			_, tainted := v.tainted[u.id]
			if !w.vaguePage(u.id) || f.status == presence.Offline || tainted && !asked {
				continue
			}
			got := page(v.view[u.id])
			if !slices.ContainsFunc(u.tabs, func(t *tab) bool { return t.page == got }) {
				return fmt.Sprintf("%s believes %s to be on %q, which is open in no tab", v.name, u.id, got)
			}
			if first := w.watchers[0]; asked && page(first.view[u.id]) != got {
				return fmt.Sprintf("%s believes %s to be on %q, %s on %q", v.name, u.id, got, first.name, page(first.view[u.id]))
			}
		}
	}
	return ""
}

// checkWatchers holds everybody's last word against the truth.
func (w *world) checkWatchers(invariant string, asked bool) {
	if doubt := w.firstDoubt(asked); doubt != "" {
		w.violate(invariant, "%s", doubt)
	}
}

// undrained returns what is left of the outbox.
func (w *world) undrained() string {
	for _, key := range w.redis.Keys() {
		if strings.HasSuffix(key, ":outbox") || strings.HasSuffix(key, ":notes") {
			return key
		}
	}
	return ""
}

// checkForgotten looks for keys left behind.
func (w *world) checkForgotten() {
	for _, s := range w.servers() {
		for _, key := range s.Keys() {
			if !strings.HasSuffix(key, ":shard") {
				w.violate("(6) nothing is left behind", "there is still %s", key)
			}
		}
	}
}

// show is a presence in a line.
func show(p presence.Presence) string {
	return fmt.Sprintf("%s %s on %q as of %s", p.UserID, p.Status, page(p), clock(p.AsOf))
}
