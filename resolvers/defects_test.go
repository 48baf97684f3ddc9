package resolvers_test

import (
	"testing"
	"time"

	"presence"
)

// The tests of this file are named for the defects of the AppSync presence
// sample that this API does not have.

// D1: a timeout whose event is lost is lost for good.
func TestD1LostTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.bus.take()
	w.bus.fail = true
	w.expire()
	w.bus.fail = false
	// EventBridge takes the second try, and loses it on the way. The third
	// arrives.
	for try := range 2 {
		w.advance(10 * time.Second)
		w.sweep()
		if events := w.bus.take(); len(events) != 1 || events[0].Status != presence.Offline {
			t.Fatalf("try %d: got %v, want the offline again", try, events)
		}
	}
	if got := w.call("", "disconnected", `{"userId":"alice"}`); got.Status != presence.Offline {
		t.Fatalf("announced %v", got)
	}
	w.advance(time.Minute)
	w.sweep()
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("still announcing: %v", events)
	}
}

// D2: a late heartbeat brings the user back and nobody is told.
func TestD2SilentResurrection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.expire()
	offline := w.call("", "disconnected", `{"userId":"alice"}`)
	w.bus.take()
	w.call("alice", "heartbeat", home)
	events := w.bus.take()
	if len(events) != 1 || events[0].Change != presence.Connected {
		t.Fatalf("got %v, want a connected to announce", events)
	}
	online := w.call("", "connected", `{"userId":"alice"}`)
	if online.Status != presence.Online || online.AsOf <= offline.AsOf {
		t.Errorf("announced %s as of %v, after offline as of %v", online.Status, online.AsOf, offline.AsOf)
	}
}

// D3: an offline that arrives late shows somebody offline who is back.
func TestD3Reordering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.expire()
	back := w.call("alice", "connect", home)
	late := w.call("", "disconnected", `{"userId":"alice"}`)
	if late.Status != presence.Online || late.AsOf < back.AsOf {
		t.Errorf("the late announcement says %s as of %v; connect said online as of %v", late.Status, late.AsOf, back.AsOf)
	}
}

// D4: a timeout that is no longer than the heartbeat.
func TestD4TimeoutWithoutSlack(t *testing.T) {
	t.Parallel()
	sample := presence.Timing{Heartbeat: 10 * time.Second, Timeout: 10 * time.Second, Retention: time.Hour}
	if err := sample.Validate(); err == nil {
		t.Error("accepted")
	}
	w := newWorld(t)
	got := w.call("alice", "connect", home)
	if w.advance(70 * time.Second); w.status("alice").Status != presence.Online {
		t.Error("one late heartbeat shows the user offline")
	}
	if got.HeartbeatIntervalMs != 30_000 {
		t.Error("the client is not told how often to beat")
	}
}

// D5: closing one tab logs the user off in the others.
func TestD5OneTabCloses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", `{"url":"https://example.com/1","title":"1","sessionId":"1"}`)
	w.call("alice", "connect", `{"url":"https://example.com/2","title":"2","sessionId":"2"}`)
	w.bus.take()
	if got := w.call("alice", "disconnect", `{"sessionId":"1"}`); got.Status != presence.Online {
		t.Errorf("answers %v", got)
	}
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("published %v", events)
	}
	if got := w.status("alice"); got.Status != presence.Online || *got.URL != "https://example.com/2" {
		t.Errorf("got %v", got)
	}
}

// D6: status says online until the sweep has run, and knows no more.
func TestD6StaleReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	online := w.call("alice", "connect", home)
	w.advance(timing.Timeout - 10*time.Millisecond)
	if got := w.status("alice"); got.Status != presence.Online {
		t.Errorf("offline before the timeout")
	}
	w.advance(20 * time.Millisecond)
	got := w.status("alice")
	if got.Status != presence.Offline || got.LastSeen != online.LastSeen || got.URL != nil {
		t.Errorf("got %v", got)
	}
}

// D7: anybody can beat and disconnect for anybody. Here the user is the
// token's, whatever the arguments say.
func TestD7NoIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", `{"url":"https://example.com/","title":"Home","sessionId":"tab"}`)
	w.call("mallory", "disconnect", `{"userId":"alice","sub":"alice","sessionId":"tab"}`)
	if got := w.status("alice"); got.Status != presence.Online {
		t.Error("mallory disconnected alice")
	}
	if got := w.call("mallory", "connect", `{"url":"https://evil.example/","title":"x","userId":"alice","sessionId":"tab"}`); got.UserID != "mallory" {
		t.Errorf("mallory connected as %s", got.UserID)
	}
	if got := w.status("alice"); *got.URL != "https://example.com/" {
		t.Errorf("alice is shown on %s", *got.URL)
	}
}

// D9: a change between the query and the subscription is lost. Whatever order
// a watcher's query and messages arrive in, the greatest asOf is the truth.
func TestD9ObserverHole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	queried := w.status("alice")
	delivered := w.call("alice", "connect", home)
	if delivered.AsOf <= queried.AsOf {
		t.Error("the message does not win over the older query")
	}
	requeried := w.status("alice")
	if requeried.AsOf < delivered.AsOf {
		t.Error("the newer query does not hold against the message")
	}
	left := w.call("alice", "disconnect", `{}`)
	if left.AsOf <= requeried.AsOf {
		t.Error("the newer message does not win over the query")
	}
}

// D10: the heartbeat is a query, and connect publishes with every call.
func TestD10SideEffectInQuery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("alice", "connect", home)
	w.call("", "connected", `{"userId":"alice"}`)
	w.bus.take()
	for range 5 {
		w.advance(20 * time.Second)
		w.sweep()
		w.call("alice", "heartbeat", home)
		w.call("alice", "connect", home)
	}
	if events := w.bus.take(); len(events) != 0 {
		t.Errorf("published without a change: %v", events)
	}
}
