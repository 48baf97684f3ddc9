// Package presencetest says what every presence.Store has to do.
package presencetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"presence"
)

// Backend is a store to be tested and its clock.
type Backend struct {
	presence.Store
	// Timing is what the store was made with.
	Timing presence.Timing
	// Lease is how long a note is left alone at first.
	Lease time.Duration
	// Advance moves the store's clock, or waits until it has moved.
	Advance func(time.Duration)
	// Now returns the time of a clock that moves by itself, too. Nil means that only
	// Advance moves the clock.
	Now func() time.Time
}

var (
	home  = presence.Page{URL: "https://example.com/", Title: "Home"}
	about = presence.Page{URL: "https://example.com/about", Title: "About"}
)

// Run runs the suite. Every test gets a store of its own that nobody has used.
func Run(t *testing.T, newBackend func(t *testing.T) Backend) {
	for name, test := range map[string]func(testing.TB, *subject){
		"unknown-user-is-offline":                    testUnknown,
		"connect-brings-online":                      testConnect,
		"heartbeat-is-quiet":                         testHeartbeat,
		"heartbeat-tells-a-changed-page":             testHeartbeatPage,
		"page-not-shown":                             testHiddenPage,
		"status-is-right-without-sweep":              testTruthOnRead,
		"sweep-announces-timeout-until-acknowledged": testSweep,
		"late-beat-revives-the-swept":                testRevivalSwept,
		"late-beat-revives-the-unswept":              testRevivalUnswept,
		"leave-is-at-once":                           testLeave,
		"leave-of-nobody":                            testLeaveNobody,
		"one-of-two-sessions-leaves":                 testTwoSessions,
		"default-session-beside-named":               testDefaultBesideNamed,
		"late-leave-of-an-old-session":               testOldSession,
		"page-of-the-remaining-session":              testRemainingPage,
		"background-tab-keeps-the-page":              testBackgroundTab,
		"grace-and-back":                             testGraceBack,
		"grace-and-gone":                             testGraceGone,
		"grace-of-one-of-two":                        testGraceTwo,
		"acknowledge-only-what-was-seen":             testAcknowledge,
		"statuses-in-order":                          testStatuses,
		"as-of-never-repeats":                        testAsOf,
		"forgotten-after-retention":                  testRetention,
		"the-change-a-note-names":                    testNoteChange,
		"sweep-that-was-away":                        testAway,
		"strange-names":                              testStrangeNames,
		"many-expire-in-passes":                      testMany,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newBackend, test)
		})
	}
}

// subject makes each step of a test one line.
type subject struct {
	t testing.TB
	Backend
	moved time.Duration // by Advance
}

// Advance moves the store's clock.
func (s *subject) Advance(d time.Duration) {
	s.moved += d
	s.Backend.Advance(d)
}

func (s *subject) touch(user, session string, page presence.Page, reason presence.Reason) presence.State {
	s.t.Helper()
	state, err := s.Touch(s.t.Context(), presence.Beat{UserID: user, SessionID: session, Page: page, Reason: reason})
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

func (s *subject) connect(user, session string, page presence.Page) presence.State {
	s.t.Helper()
	return s.touch(user, session, page, presence.ReasonConnect)
}

func (s *subject) beat(user, session string, page presence.Page) presence.State {
	s.t.Helper()
	return s.touch(user, session, page, presence.ReasonHeartbeat)
}

func (s *subject) leave(user, session string, grace time.Duration) presence.State {
	s.t.Helper()
	state, err := s.Leave(s.t.Context(), presence.Leave{UserID: user, SessionID: session, GraceMs: grace.Milliseconds()})
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

func (s *subject) status(user string) presence.State {
	s.t.Helper()
	states, err := s.Status(s.t.Context(), []string{user})
	if err != nil {
		s.t.Fatal(err)
	}
	return states[0]
}

func (s *subject) sweep() presence.Sweep {
	s.t.Helper()
	sweep, err := s.Sweep(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return sweep
}

func (s *subject) acknowledge(user string, note presence.Time) {
	s.t.Helper()
	if err := s.Acknowledge(s.t.Context(), user, note); err != nil {
		s.t.Fatal(err)
	}
}

// expire lets the timeout pass, sweeping on the way as the schedule does: a
// sweep that has been away for that long would give everybody time.
func (s *subject) expire() presence.Sweep {
	s.t.Helper()
	var all presence.Sweep
	const steps = 5
	for range steps {
		sweep := s.sweep()
		all.Due = append(all.Due, sweep.Due...)
		s.Advance((s.Timing.Timeout + 20*time.Millisecond) / steps)
	}
	sweep := s.sweep()
	sweep.Due = append(all.Due, sweep.Due...)
	return sweep
}

// check fails the test unless the state is as said; a page of "" is none.
func (s *subject) check(what string, got presence.State, status presence.Status, url string) {
	s.t.Helper()
	shown := ""
	if got.URL != nil {
		shown = *got.URL
	}
	if got.Status != status || shown != url {
		s.t.Fatalf("%s: got %s on %q, want %s on %q", what, got.Status, shown, status, url)
	}
	if (got.URL == nil) != (got.Title == nil) {
		s.t.Fatalf("%s: URL and title are not null together", what)
	}
	if (got.ExpiresAt != 0) != (status == presence.Online) {
		s.t.Fatalf("%s: %s and expiresAt is %v", what, status, got.ExpiresAt)
	}
	if got.AsOf == 0 {
		s.t.Fatalf("%s: no asOf", what)
	}
}

func (s *subject) checkNote(what string, got presence.State, want bool) {
	s.t.Helper()
	if (got.Note != 0) != want {
		s.t.Fatalf("%s: note %v, want one: %v", what, got.Note, want)
	}
}

func due(sweep presence.Sweep, user string) (found []presence.State) {
	for _, state := range sweep.Due {
		if state.UserID == user {
			found = append(found, state)
		}
	}
	return found
}

func testUnknown(t testing.TB, s *subject) {
	got := s.status("alice")
	s.check("status", got, presence.Offline, "")
	if got.LastSeen != 0 {
		t.Errorf("lastSeen is %v of a user never seen", got.LastSeen)
	}
	if after := s.connect("alice", "", home); after.AsOf <= got.AsOf {
		t.Errorf("connect's asOf %d is not after the read's %d", after.AsOf, got.AsOf)
	}
}

func testConnect(t testing.TB, s *subject) {
	got := s.connect("alice", "", home)
	s.check("connect", got, presence.Online, home.URL)
	s.checkNote("connect", got, true)
	if got.Change != presence.Connected || got.Reason != presence.ReasonConnect {
		t.Errorf("change %q, reason %q", got.Change, got.Reason)
	}
	if *got.Title != home.Title || got.HeartbeatIntervalMs != s.Timing.Heartbeat.Milliseconds() {
		t.Errorf("title %q, heartbeatIntervalMs %d", *got.Title, got.HeartbeatIntervalMs)
	}
	if left := got.ExpiresAt - got.LastSeen; left != presence.Time(s.Timing.Timeout.Milliseconds()) {
		t.Errorf("expires %d ms after lastSeen, want the timeout", left)
	}
	read := s.status("alice")
	s.check("status", read, presence.Online, home.URL)
	if read.Note != got.Note || read.Reason != presence.ReasonConnect || read.LastSeen != got.LastSeen {
		t.Errorf("status has note %d %s, lastSeen %d; connect had %d, %d", read.Note, read.Reason, read.LastSeen, got.Note, got.LastSeen)
	}
	s.checkNote("connect again", s.connect("alice", "", home), false)
	moved := s.connect("alice", "", about)
	s.check("connect elsewhere", moved, presence.Online, about.URL)
	s.checkNote("connect elsewhere", moved, true)
	if moved.Change != presence.Changed {
		t.Errorf("change %q, want changed", moved.Change)
	}
}

// A note names the latest change. Of a connect and a change of page after it that
// nobody has acknowledged, it still says connected.
func testNoteChange(t testing.TB, s *subject) {
	s.connect("alice", "", home)
	moved := s.connect("alice", "", about)
	if read := s.status("alice"); read.Change != presence.Connected || read.Note != moved.Note {
		t.Errorf("note %d %q, want %d connected", read.Note, read.Change, moved.Note)
	}
	s.acknowledge("alice", moved.Note)
	back := s.connect("alice", "", home)
	if read := s.status("alice"); read.Change != presence.Changed || read.Note != back.Note {
		t.Errorf("note %d %q, want %d changed", read.Note, read.Change, back.Note)
	}
	s.Advance(s.Lease + 20*time.Millisecond)
	if due := due(s.sweep(), "alice"); len(due) != 1 || due[0].Change != presence.Changed || due[0].Reason != presence.ReasonConnect {
		t.Errorf("due %+v, want one changed", due)
	}
	s.leave("alice", "", 0)
	if read := s.status("alice"); read.Change != presence.Disconnected {
		t.Errorf("note %q, want disconnected", read.Change)
	}
	s.connect("alice", "", home)
	if read := s.status("alice"); read.Change != presence.Connected {
		t.Errorf("note %q, want connected", read.Change)
	}
}

func testHeartbeat(t testing.TB, s *subject) {
	first := s.connect("alice", "", home)
	s.acknowledge("alice", first.Note)
	for range 4 {
		s.Advance(s.Timing.Timeout / 2)
		got := s.beat("alice", "", home)
		s.check("beat", got, presence.Online, home.URL)
		s.checkNote("beat", got, false)
		if len(s.sweep().Due) != 0 {
			t.Fatal("a beating user is due")
		}
	}
	s.checkNote("status", s.status("alice"), false)
}

func testHeartbeatPage(t testing.TB, s *subject) {
	first := s.connect("alice", "", home)
	s.acknowledge("alice", first.Note)
	got := s.beat("alice", "", about)
	s.check("beat", got, presence.Online, about.URL)
	s.checkNote("beat", got, true)
	if got.Change != presence.Changed {
		t.Errorf("change %q, want changed", got.Change)
	}
}

func testHiddenPage(t testing.TB, s *subject) {
	s.check("connect", s.connect("alice", "", presence.Page{}), presence.Online, "")
	s.check("status", s.status("alice"), presence.Online, "")
	s.checkNote("beat", s.beat("alice", "", presence.Page{}), false)
	s.check("beat", s.beat("alice", "", home), presence.Online, home.URL)
}

func testTruthOnRead(t testing.TB, s *subject) {
	online := s.connect("alice", "", home)
	s.Advance(s.Timing.Timeout + 20*time.Millisecond)
	got := s.status("alice")
	s.check("status", got, presence.Offline, "")
	if got.AsOf <= online.AsOf || got.LastSeen != online.LastSeen {
		t.Errorf("offline as of %d, last seen %d; online as of %d, last seen %d", got.AsOf, got.LastSeen, online.AsOf, online.LastSeen)
	}
}

func testSweep(t testing.TB, s *subject) {
	first := s.connect("alice", "", home)
	s.acknowledge("alice", first.Note)
	swept := due(s.expire(), "alice")
	if len(swept) != 1 {
		t.Fatalf("due %d times, want once", len(swept))
	}
	got := swept[0]
	s.check("due", got, presence.Offline, "")
	s.checkNote("due", got, true)
	if got.Change != presence.Disconnected || got.Reason != presence.ReasonTimeout || got.LastSeen != first.LastSeen || got.AsOf <= first.AsOf {
		t.Errorf("reason %s, lastSeen %d, asOf %d", got.Reason, got.LastSeen, got.AsOf)
	}
	if len(s.sweep().Due) != 0 {
		t.Error("due again at once: another sweep would publish it twice")
	}
	s.Advance(s.Lease + 20*time.Millisecond)
	if len(due(s.sweep(), "alice")) != 1 {
		t.Error("not due again after its lease")
	}
	s.acknowledge("alice", got.Note)
	s.Advance(4 * s.Lease)
	sweep := s.sweep()
	if len(sweep.Due) != 0 || sweep.Unannounced != 0 {
		t.Error("due after it was acknowledged")
	}
}

func testRevivalSwept(t testing.TB, s *subject) {
	s.acknowledge("alice", s.connect("alice", "", home).Note)
	swept := due(s.expire(), "alice")
	if len(swept) != 1 {
		t.Fatalf("due %d times, want once", len(swept))
	}
	offline := swept[0]
	got := s.beat("alice", "", home)
	s.check("beat", got, presence.Online, home.URL)
	s.checkNote("beat", got, true)
	if got.Change != presence.Connected || got.Reason != presence.ReasonHeartbeat || got.AsOf <= offline.AsOf {
		t.Errorf("change %q, reason %s, asOf %d after %d", got.Change, got.Reason, got.AsOf, offline.AsOf)
	}
	// The offline announcement that is still under way finds the user online.
	s.check("status", s.status("alice"), presence.Online, home.URL)
	s.acknowledge("alice", offline.Note)
	s.checkNote("status after the old acknowledgement", s.status("alice"), true)
}

func testRevivalUnswept(t testing.TB, s *subject) {
	s.acknowledge("alice", s.connect("alice", "", home).Note)
	s.Advance(s.Timing.Timeout + 20*time.Millisecond)
	told := s.status("alice")
	got := s.beat("alice", "", home)
	s.check("beat", got, presence.Online, home.URL)
	s.checkNote("beat", got, true)
	if got.AsOf <= told.AsOf {
		t.Errorf("online as of %d, but somebody was told offline as of %d", got.AsOf, told.AsOf)
	}
}

func testLeave(t testing.TB, s *subject) {
	online := s.connect("alice", "", home)
	s.Advance(30 * time.Millisecond)
	got := s.leave("alice", "", 0)
	s.check("leave", got, presence.Offline, "")
	s.checkNote("leave", got, true)
	if got.Change != presence.Disconnected || got.Reason != presence.ReasonDisconnect || got.AsOf <= online.AsOf || got.LastSeen <= online.LastSeen {
		t.Errorf("change %q, reason %s, asOf %d, lastSeen %d", got.Change, got.Reason, got.AsOf, got.LastSeen)
	}
	s.check("status", s.status("alice"), presence.Offline, "")
	s.check("connect", s.connect("alice", "", home), presence.Online, home.URL)
}

func testLeaveNobody(t testing.TB, s *subject) {
	for range 2 {
		got := s.leave("alice", "", 0)
		s.check("leave", got, presence.Offline, "")
		s.checkNote("leave", got, false)
	}
	s.connect("alice", "", home)
	s.leave("alice", "", 0)
	s.checkNote("second leave", s.leave("alice", "", 0), false)
}

func testTwoSessions(t testing.TB, s *subject) {
	s.connect("alice", "one", home)
	s.acknowledge("alice", s.connect("alice", "two", about).Note)
	got := s.leave("alice", "one", 0)
	s.check("one leaves", got, presence.Online, about.URL)
	s.checkNote("one leaves", got, false)
	s.check("status", s.status("alice"), presence.Online, about.URL)
	got = s.leave("alice", "two", 0)
	s.check("two leaves", got, presence.Offline, "")
	s.checkNote("two leaves", got, true)
}

func testDefaultBesideNamed(t testing.TB, s *subject) {
	s.connect("alice", "", home)
	s.connect("alice", "tab", about)
	s.check("tab leaves", s.leave("alice", "tab", 0), presence.Online, "")
	s.check("the default is back", s.beat("alice", "", home), presence.Online, home.URL)
	s.connect("alice", "tab", about)
	s.check("the default leaves", s.leave("alice", "", 0), presence.Online, about.URL)
	s.check("tab leaves", s.leave("alice", "tab", 0), presence.Offline, "")
	s.check("nobody leaves", s.leave("alice", "", 0), presence.Offline, "")
}

func testOldSession(t testing.TB, s *subject) {
	s.connect("alice", "old", home)
	s.connect("alice", "new", about)
	s.leave("alice", "old", 0)
	s.acknowledge("alice", s.status("alice").Note)
	got := s.leave("alice", "old", 0)
	s.check("late leave", got, presence.Online, about.URL)
	s.checkNote("late leave", got, false)
	s.check("late leave of a stranger", s.leave("alice", "never", 0), presence.Online, about.URL)
	s.check("late leave of the default", s.leave("alice", "", 0), presence.Online, about.URL)
}

func testRemainingPage(t testing.TB, s *subject) {
	s.connect("alice", "one", home)
	s.connect("alice", "two", about)
	s.leave("alice", "two", 0)
	s.acknowledge("alice", s.status("alice").Note)
	before := s.status("alice")
	got := s.beat("alice", "one", home)
	s.check("beat", got, presence.Online, home.URL)
	s.checkNote("beat", got, true)
	if got.AsOf <= before.AsOf {
		t.Errorf("asOf %d, before %d", got.AsOf, before.AsOf)
	}
}

func testBackgroundTab(t testing.TB, s *subject) {
	s.connect("alice", "one", home)
	s.acknowledge("alice", s.connect("alice", "two", about).Note)
	for range 5 {
		s.Advance(s.Timing.Timeout / 3)
		s.sweep()
		got := s.beat("alice", "one", home)
		s.check("beat of the background tab", got, presence.Online, about.URL)
		s.checkNote("beat of the background tab", got, false)
		s.beat("alice", "two", about)
	}
	// Tab two stops without a word; one is shown when two has timed out.
	for range 4 {
		s.Advance(s.Timing.Timeout / 3)
		s.sweep()
		s.beat("alice", "one", home)
	}
	s.check("status", s.status("alice"), presence.Online, home.URL)
	s.checkNote("status", s.status("alice"), true)
}

func testGraceBack(t testing.TB, s *subject) {
	s.acknowledge("alice", s.connect("alice", "tab", home).Note)
	got := s.leave("alice", "tab", s.Timing.Timeout/2)
	s.check("leave", got, presence.Online, home.URL)
	s.checkNote("leave", got, false)
	if left := time.Duration(got.ExpiresAt-got.AsOf) * time.Millisecond; left > s.Timing.Timeout/2 {
		t.Errorf("expires in %v, want at most the grace", left)
	}
	s.Advance(s.Timing.Timeout / 4)
	back := s.connect("alice", "tab", home)
	s.check("connect", back, presence.Online, home.URL)
	s.checkNote("connect", back, false)
	s.Advance(s.Timing.Timeout / 2)
	if sweep := s.sweep(); len(sweep.Due) != 0 {
		t.Error("somebody hears of an offline that never was")
	}
	s.check("status", s.status("alice"), presence.Online, home.URL)
}

func testGraceGone(t testing.TB, s *subject) {
	s.acknowledge("alice", s.connect("alice", "", home).Note)
	s.Advance(30 * time.Millisecond)
	left := s.leave("alice", "", s.Timing.Timeout/4)
	s.sweep()
	s.Advance(s.Timing.Timeout/4 + 20*time.Millisecond)
	got := due(s.sweep(), "alice")
	if len(got) != 1 {
		t.Fatalf("due %d times, want once", len(got))
	}
	s.check("due", got[0], presence.Offline, "")
	// Give or take the millisecond between a state's asOf and the time.
	if d := got[0].LastSeen - left.LastSeen; d < -1 || d > 1 {
		t.Errorf("last seen %d, want the moment of leaving, %d", got[0].LastSeen, left.LastSeen)
	}
}

func testGraceTwo(t testing.TB, s *subject) {
	s.connect("alice", "one", home)
	s.acknowledge("alice", s.connect("alice", "two", about).Note)
	s.leave("alice", "two", s.Timing.Timeout/4)
	s.sweep()
	s.Advance(s.Timing.Timeout / 2)
	got := s.beat("alice", "one", home)
	s.check("beat", got, presence.Online, home.URL)
	s.checkNote("beat", got, true)
	if sweep := s.sweep(); sweep.Expired != 0 {
		t.Error("the user expired with a session alive")
	}
}

func testAcknowledge(t testing.TB, s *subject) {
	first := s.connect("alice", "", home)
	second := s.leave("alice", "", 0)
	s.acknowledge("alice", first.Note)
	s.checkNote("status", s.status("alice"), true)
	s.acknowledge("alice", second.Note)
	s.checkNote("status", s.status("alice"), false)
	s.acknowledge("nobody", first.Note)
}

func testStatuses(t testing.TB, s *subject) {
	var ids []string
	for i := range 40 {
		id := fmt.Sprintf("user-%d", i%30)
		if i%2 == 0 {
			s.connect(id, "", presence.Page{URL: "https://example.com/" + id, Title: id})
		}
		ids = append(ids, id)
	}
	states, err := s.Status(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, state := range states {
		if state.UserID != ids[i] {
			t.Fatalf("answer %d is of %s, want %s", i, state.UserID, ids[i])
		}
		if i%2 == 0 {
			s.check("status", state, presence.Online, "https://example.com/"+ids[i])
		} else {
			s.check("status", state, presence.Offline, "")
		}
	}
	if states, err := s.Status(t.Context(), nil); err != nil || len(states) != 0 {
		t.Errorf("no users: %v, %v", states, err)
	}
}

func testAsOf(t testing.TB, s *subject) {
	var last presence.Time
	for i := range 60 {
		var got presence.State
		switch i % 5 {
		case 0:
			got = s.connect("alice", "one", home)
		case 1:
			got = s.connect("alice", "two", about)
		case 2:
			got = s.beat("alice", "one", about)
		case 3:
			got = s.leave("alice", "two", 0)
		case 4:
			got = s.leave("alice", "one", 0)
		}
		if got.AsOf <= last {
			t.Fatalf("step %d: asOf %d after %d", i, got.AsOf, last)
		}
		last = got.AsOf
		if read := s.status("alice"); read.AsOf < last {
			t.Fatalf("step %d: read as of %d, written as of %d", i, read.AsOf, last)
		}
	}
}

func testRetention(t testing.TB, s *subject) {
	s.connect("alice", "tab", home)
	gone := s.leave("alice", "tab", 0)
	s.acknowledge("alice", gone.Note)
	if got := s.status("alice"); got.LastSeen == 0 {
		t.Fatal("forgotten at once")
	}
	s.Advance(s.Timing.Retention + 20*time.Millisecond)
	s.sweep()
	got := s.status("alice")
	if got.LastSeen != 0 {
		t.Errorf("last seen %v after the retention", got.LastSeen)
	}
	if got.AsOf < gone.AsOf {
		t.Errorf("asOf ran back from %d to %d", gone.AsOf, got.AsOf)
	}
	if back := s.connect("alice", "tab", home); back.AsOf <= gone.AsOf {
		t.Errorf("asOf ran back from %d to %d", gone.AsOf, back.AsOf)
	}
}

func testAway(t testing.TB, s *subject) {
	s.acknowledge("alice", s.connect("alice", "", home).Note)
	s.sweep()
	s.Advance(3 * s.Timing.Timeout)
	if sweep := s.sweep(); sweep.Expired != 0 || len(sweep.Due) != 0 {
		t.Fatal("an outage takes people offline who could not beat")
	}
	s.check("status", s.status("alice"), presence.Offline, "")
	if got := due(s.expire(), "alice"); len(got) != 1 {
		t.Fatalf("due %d times one timeout after the outage, want once", len(got))
	}
}

func testStrangeNames(t testing.TB, s *subject) {
	for _, user := range []string{"{", "}", "{1}", "a}{b", ":p:", "é🦊", "with space", "a\x00b", "'\"\\", "%s%n", "-inf", "0", strings.Repeat("x", 128)} {
		s.check("connect "+user, s.connect(user, user, home), presence.Online, home.URL)
		s.check("connect "+user, s.connect(user, "other", about), presence.Online, about.URL)
		s.check("leave "+user, s.leave(user, "other", 0), presence.Online, "")
		s.check("beat "+user, s.beat(user, user, home), presence.Online, home.URL)
		s.check("leave "+user, s.leave(user, user, 0), presence.Offline, "")
	}
	s.connect("a", "", home)
	s.check("its neighbour", s.status("a:p"), presence.Offline, "")
}

func testMany(t testing.TB, s *subject) {
	const users = 700
	for i := range users {
		s.connect(fmt.Sprint(i), "", home)
	}
	announced := map[string]bool{}
	for _, state := range s.expire().Due {
		announced[state.UserID] = state.Status == presence.Offline
		s.acknowledge(state.UserID, state.Note)
	}
	for range 100 {
		sweep := s.sweep()
		for _, state := range sweep.Due {
			announced[state.UserID] = state.Status == presence.Offline
			s.acknowledge(state.UserID, state.Note)
		}
		if sweep.Unannounced == 0 && sweep.Online == 0 {
			break
		}
	}
	for i := range users {
		if !announced[fmt.Sprint(i)] {
			t.Fatalf("user %d was never announced offline", i)
		}
	}
}
