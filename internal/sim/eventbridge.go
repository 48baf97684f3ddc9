package sim

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"presence"
	"presence/internal/announce"
)

// schedule is EventBridge's schedule of the sweep.
func (w *world) schedule() {
	w.after(w.Schedule, w.schedule)
	n := 1
	if w.fault("sweep missed", w.NoSweep) {
		n = 0
		w.hindered(w.Schedule)
	} else if w.fault("two sweeps at once", w.TwoSweeps) {
		n = 2
	}
	for range n {
		w.after(w.between(0, 300*time.Millisecond), func() {
			w.invoke(&invocation{name: "sweep"}, []byte(`{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}`))
		})
	}
}

// bus is the EventBridge that invocations publish to.
type bus world

func (b *bus) Publish(_ context.Context, events []presence.Event) (failed int, err error) {
	w := (*world)(b)
	w.turns.Load()
	inv := w.active
	if err := w.wait(step{what: "PutEvents"}); err != nil {
		return len(events), err
	}
	if w.fault("PutEvents throttled", w.Throttle) {
		w.hindered(0)
		return len(events), errors.New("ThrottlingException")
	}
	for _, e := range events {
		w.checkEvent(inv, e)
		if w.fault("PutEvents entry failed", w.EntryFail) {
			w.hindered(0)
			failed++
			continue
		}
		w.log("bus", "%s %s as of %s", e.Change.DetailType(), e.UserID, clock(e.AsOf))
		w.deliver(e)
	}
	if failed == 0 && w.fault("PutEvents answer lost", w.PutLost) {
		return len(events), errors.New("connection reset")
	}
	if failed > 0 {
		err = errors.New("InternalFailure")
	}
	return failed, err
}

// deliver runs EventBridge's rules on an event and calls their target.
func (w *world) deliver(e presence.Event) {
	w.published(e)
	if w.now < w.ruleOff {
		w.log("bus", "the rule is off")
		return
	}
	if w.fault("event lost", w.EventLost) {
		w.hindered(0)
		return
	}
	n := 1
	if w.fault("event doubled", w.EventTwice) {
		n = 2
	}
	for range n {
		took := w.between(5*time.Millisecond, 300*time.Millisecond)
		if w.fault("event late", w.EventLate) {
			took = w.between(0, 3*time.Minute)
			w.hindered(0)
		}
		w.after(took, func() { w.announce(e) })
	}
}

// rules are the rules on the bus.
func (w *world) rules() []announce.Rule {
	if w.Rules != nil {
		return w.Rules
	}
	return announce.Rules()
}

// announce is the rule's target: the mutation that makes AppSync tell
// subscribers.
func (w *world) announce(e presence.Event) {
	for _, r := range w.rules() {
		if slices.Contains(r.Changes, e.Change) {
			arguments, _ := json.Marshal(map[string]string{"userId": e.UserID})
			w.appsync(call{caller: "", field: r.Field, arguments: arguments, user: e.UserID}, func([]byte, error) {})
		}
	}
}
