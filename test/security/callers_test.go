package security_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/local/idp"
	"presence/internal/wire"
)

// Whatever mallory sends, only mallory's presence changes.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	const connect = `mutation { connect(url: "https://evil.example/", title: "") { userId } }`
	// Said to be let through, a request must also do as it says, for mallory.
	for name, tt := range map[string]struct {
		request
		refused bool
	}{
		"user-argument":      {request: request{document: `mutation { connect(url: "", title: "", userId: "bob") { userId } }`}, refused: true},
		"user-in-disconnect": {request: request{document: `mutation { disconnect(userId: "bob") { userId } }`}, refused: true},
		"unused-variable":    {request: request{document: connect, variables: `{"userId":"bob","sub":"bob","identity":{"sub":"bob"}}`}},
		"identity-in-body":   {request: request{document: connect, extra: `,"identity":{"sub":"bob","username":"bob"},"stash":{"user":"bob"},"extensions":{"authorization":{"userId":"bob"}}`}},
		"headers": {request: request{document: connect, header: http.Header{
			"X-User-Id": {"bob"}, "X-Forwarded-User": {"bob"}, "X-Amzn-Oidc-Identity": {"bob"}, "X-Amz-Cognito-Identity-Id": {"bob"},
			"Sub": {"bob"}, "Username": {"bob"}, "X-Forwarded-For": {"127.0.0.1"}, "Cookie": {"user=bob"}, "X-Api-Key": {"bob"},
		}}},
		"their-session":         {request: request{document: `mutation { connect(url: "https://evil.example/", title: "", sessionId: "tab-of-bob") { userId } }`}},
		"their-session-beats":   {request: request{document: `mutation { heartbeat(url: "https://evil.example/", title: "", sessionId: "tab-of-bob") { userId } }`}},
		"their-session-ends":    {request: request{document: `mutation { connect(url: "", title: "", sessionId: "tab-of-bob") { userId } disconnect(sessionId: "tab-of-bob") { userId } }`}},
		"session-that-is-a-key": {request: request{document: `mutation { connect(url: "", title: "", sessionId: "{0}:s:bob") { userId } }`}},
		"default-session":       {request: request{document: `mutation { disconnect { userId } connect(url: "", title: "") { userId } }`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			w.connect("bob", "tab-of-bob", "https://example.com/")
			before := w.state("bob")
			tt.token = w.token("mallory")
			answer := w.send(tt.request)
			if strings.Contains(answer, `"bob"`) || strings.Contains(answer, `"errors"`) != tt.refused {
				t.Errorf("answered %s", answer)
			}
			after := w.state("bob")
			after.AsOf = before.AsOf // It moves with the shard's clock.
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("bob's presence: -before +after:\n%s", diff)
			}
			if seen := w.state("mallory").LastSeen != 0; seen == tt.refused {
				t.Errorf("mallory was seen: %t", seen)
			}
			// Bob's session is still bob's, and ends when bob says so.
			w.connect("bob", "another", "https://example.com/")
			for _, end := range []struct {
				session string
				want    presence.Status
			}{{"another", presence.Online}, {"tab-of-bob", presence.Offline}} {
				w.send(request{token: w.token("bob"), document: `mutation { disconnect(sessionId: "` + end.session + `") { userId } }`})
				if got := w.state("bob").Status; got != end.want {
					t.Errorf("bob is %s after the end of %s, want %s", got, end.session, end.want)
				}
			}
		})
	}
}

// Only callers by IAM get through to connected and disconnected, however the
// document hides them.
func TestOnlyIAMAnnounces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	if answer := w.send(request{token: w.token("bob"), document: `mutation { connect(url: "", title: "") { userId } }`}); strings.Contains(answer, "errors") {
		t.Fatal(answer)
	}
	if w.state("bob").Note == 0 {
		t.Fatal("there is no note to protect")
	}
	idToken, err := w.issuer.Sign(idp.Token{User: "mallory", Use: "id", Groups: []string{"iam", "admin"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range map[string]string{
		"plain":           `mutation { disconnected(userId: "bob") ` + everything + ` }`,
		"connected":       `mutation { connected(userId: "bob") ` + everything + ` }`,
		"alias":           `mutation { connect: disconnected(userId: "bob") ` + everything + ` }`,
		"fragment":        `mutation { ...F } fragment F on Mutation { disconnected(userId: "bob") ` + everything + ` }`,
		"inline-fragment": `mutation { ... on Mutation { ... { connected(userId: "bob") ` + everything + ` } } }`,
		"batch":           `mutation { connect(url: "", title: "") { userId } a: disconnected(userId: "bob") ` + everything + ` b: connected(userId: "bob") ` + everything + ` }`,
		"typename-alone":  `mutation { disconnected(userId: "bob") { __typename } }`,
		"directive":       `mutation { disconnected(userId: "bob") @include(if: true) ` + everything + ` }`,
		"their-operation": `mutation Announce { disconnected(userId: "bob") ` + everything + ` }`,
	} {
		for use, token := range map[string]string{"access": w.token("mallory"), "id": idToken, "bob's own": w.token("bob")} {
			answer := w.send(request{token: token, document: document})
			if !strings.Contains(answer, "Not Authorized to access ") {
				t.Errorf("%s with the %s token: %s", name, use, answer)
			}
		}
	}
	get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+appsync.Path+"?query="+url.QueryEscape(`mutation { disconnected(userId: "bob") { userId } }`), nil)
	if err != nil {
		t.Fatal(err)
	}
	get.Header.Set("Authorization", w.token("mallory"))
	if answer := w.do(get); !strings.Contains(answer, "Not Authorized to access disconnected") {
		t.Errorf("by GET: %s", answer)
	}
	mallory := w.open(w.token("mallory"))
	mallory.start("1", `{"query":"mutation { disconnected(userId: \"bob\") { userId } }"}`, map[string]string{"Authorization": w.token("mallory")})
	mallory.expect(wire.TypeError)

	if calls := w.calls(); strings.Contains(calls, "connected") { // disconnected, too
		t.Errorf("the function was invoked for %s", calls)
	}
	if w.state("bob").Note == 0 {
		t.Error("bob's note is gone")
	}
	// That is what a caller by IAM can do.
	w.send(request{iam: true, document: `mutation { connected(userId: "bob") ` + everything + ` }`})
	if calls := w.calls(); !strings.HasSuffix(calls, " Mutation.connected") || w.state("bob").Note != 0 {
		t.Errorf("not announced by IAM; invoked for %s", calls)
	}
}

const watchBob = `{"query":"subscription { onStatus(userId: \"bob\") { userId status } }"}`

// A socket outlives the token it was opened with, and so do its subscriptions:
// at most the 24 hours of a connection. Nothing can be started on it any more.
func TestTokenExpiresMidConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	token := w.token("alice")
	s := w.open(token)
	authorization := map[string]string{"Authorization": token}
	s.start("before", watchBob, authorization)
	s.expect(wire.TypeStartAck)

	w.clock.Add((time.Hour + 10*time.Second).Milliseconds())
	s.start("after", watchBob, authorization)
	if f := s.expect(wire.TypeError); f.ID != "after" || !strings.Contains(string(f.Payload), "Token has expired.") {
		t.Errorf("started on an expired token: %s", f.Payload)
	}
	if answer := w.send(request{token: token, document: `{ status(userId: "bob") { userId } }`}); !strings.Contains(answer, "Token has expired.") {
		t.Errorf("over HTTP: %s", answer)
	}
	w.connect("bob", "", "")
	w.announce("bob")
	if f := s.expect(wire.TypeData); f.ID != "before" {
		t.Errorf("data for %q", f.ID)
	}
	s.start("renewed", watchBob, map[string]string{"Authorization": w.token("alice")})
	s.expect(wire.TypeStartAck)
}

// Whatever a client's mutation selects, and under which names, subscribers are
// told the truth, once, by EventBridge's mutation (trials C1, C2 and C3).
func TestSubscribersAreToldTheTruth(t *testing.T) {
	t.Parallel()
	const connect = `connect(url: "https://evil.example/login", title: "bob")`
	for name, document := range map[string]string{
		"aliases":         `mutation { ` + connect + ` { userId: title status url title: url lastSeen asOf: expiresAt expiresAt heartbeatIntervalMs } }`,
		"short":           `mutation { ` + connect + ` { userId } }`,
		"no-id":           `mutation { ` + connect + ` { status } }`,
		"typename-alone":  `mutation { ` + connect + ` { __typename } }`,
		"fragment":        `mutation { ` + connect + ` { ...P } } fragment P on Presence { userId: title status asOf: expiresAt }`,
		"inline-fragment": `mutation { ` + connect + ` { ... on Presence { userId: title topics: title status } } }`,
		"skipped":         `mutation { ` + connect + ` { userId @skip(if: true) status @include(if: true) } }`,
		"root-alias":      `mutation { connected: ` + connect + ` { userId: title status } onStatus: disconnect { userId } ` + connect + ` { userId } }`,
		"everything":      `mutation { ` + connect + ` ` + everything + ` }`,
		"heartbeat":       `mutation { ` + connect + ` { userId } heartbeat(url: "https://evil.example/login", title: "bob") { userId: title status } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{})
			s := w.open(w.token("watcher"))
			by := map[string]string{"Authorization": w.token("watcher")}
			for id, user := range map[string]string{"bob": "bob", "mallory": "mallory"} {
				s.start(id, `{"query":"subscription { onStatus(userId: \"`+user+`\") `+everything+` }"}`, by)
				s.expect(wire.TypeStartAck)
			}
			if answer := w.send(request{token: w.token("mallory"), document: document}); strings.Contains(answer, `"errors"`) {
				t.Fatal(answer)
			}
			w.announce("mallory")
			truth, _ := json.Marshal(w.state("mallory").Presence)
			// The first message is the announcement's, so the mutation made none.
			f := s.expect(wire.TypeData)
			var got struct {
				Data struct{ OnStatus map[string]any }
			}
			var want map[string]any
			if err := errors.Join(json.Unmarshal(f.Payload, &got), json.Unmarshal(truth, &want)); err != nil {
				t.Fatal(err)
			}
			want["topics"] = []any{presence.UserTopic("mallory")}
			if diff := cmp.Diff(want, got.Data.OnStatus); f.ID != "mallory" || diff != "" {
				t.Errorf("told %s: -truth +told:\n%s", f.ID, diff)
			}
			// And the last.
			s.send(`{"type":"stop","id":"bob"}`)
			if f := s.expect(wire.TypeComplete); f.ID != "bob" {
				t.Errorf("completed %s", f.ID)
			}
		})
	}
}

// AppSync's subscriptions fail open: without a filter, a subscriber is told of
// everybody. So a function that answers none is refused.
func TestSubscriptionWithoutFilter(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{`{"data":null}`, `{}`, `{"data":{}}`, `{"data":{"filterGroup":[]}}`, `{"data":{"filterGroup":null}}`, `null`} {
		w := newWorld(t, options{answer: []byte(answer)})
		s := w.open(w.token("alice"))
		s.start("1", watchBob, map[string]string{"Authorization": w.token("alice")})
		s.expect(wire.TypeError)
	}
}

// Neither tokens nor headers reach the function.
func TestFunctionSeesNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	token := w.token("alice")
	header := http.Header{"X-Canary": {"canary"}, "Cookie": {"canary=canary"}, "User-Agent": {"canary"}}
	w.send(request{token: token, header: header, document: `mutation { connect(url: "", title: "") { userId } }`})
	w.send(request{iam: true, header: header, document: `mutation { connected(userId: "alice") { userId } }`})
	s := w.open(token)
	s.start("1", watchBob, map[string]string{"Authorization": token})
	s.expect(wire.TypeStartAck)
	want := []string{
		`{"arguments":{"title":"","url":""},"caller":{"id":"alice","mode":"user"},"field":"Mutation.connect"}`,
		`{"arguments":{"userId":"alice"},"caller":{"mode":"iam"},"field":"Mutation.connected"}`,
		`{"arguments":{"userId":"bob"},"caller":{"id":"alice","mode":"user"},"field":"Subscription.onStatus"}`,
	}
	var got []string
	for _, payload := range w.payloads {
		var v any
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			t.Fatal(err)
		}
		sorted, _ := json.Marshal(v)
		got = append(got, string(sorted))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Browsers with an identity pool's credentials sign as back ends do. They may
// read, and nothing else.
func TestIdentityPoolReadsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{identityPool: true})
	w.connect("bob", "", "https://example.com/")
	for name, document := range map[string]string{
		"status":   `{ status(userId: "bob") { userId url } }`,
		"statuses": `{ statuses(userIds: ["bob"]) { userId url } }`,
	} {
		if answer := w.send(request{iam: true, document: document}); strings.Contains(answer, "errors") || !strings.Contains(answer, "https://example.com/") {
			t.Errorf("%s: %s", name, answer)
		}
	}
	for name, document := range map[string]string{
		"connect":      `mutation { connect(url: "", title: "") { userId } }`,
		"heartbeat":    `mutation { heartbeat(url: "", title: "") { userId } }`,
		"query":        `{ heartbeat(url: "", title: "") { userId } }`,
		"disconnect":   `mutation { disconnect { userId } }`,
		"connected":    `mutation { connected(userId: "bob") ` + everything + ` }`,
		"disconnected": `mutation { disconnected(userId: "bob") ` + everything + ` }`,
		"alias":        `mutation { status: connected(userId: "bob") ` + everything + ` }`,
	} {
		if answer := w.send(request{iam: true, document: document}); !strings.Contains(answer, `"Unauthorized"`) || strings.Contains(answer, `"bob"`) {
			t.Errorf("%s: %s", name, answer)
		}
	}
	if w.state("bob").Note == 0 {
		t.Error("bob's note is gone")
	}
}

// The signature of one start is good for no other, nor for a call over HTTP.
func TestSignedStartIsForItsSubscription(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+appsync.Path, strings.NewReader(watchBob))
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(r, []byte(watchBob)); err != nil {
		t.Fatal(err)
	}
	authorization := map[string]string{"host": r.URL.Host}
	for name := range r.Header {
		authorization[name] = r.Header.Get(name)
	}
	s := w.open(w.token("alice"))
	s.start("1", strings.Replace(watchBob, "bob", "eve", 1), authorization)
	if f := s.expect(wire.TypeError); !strings.Contains(string(f.Payload), "signature we calculated does not match") {
		t.Errorf("got %s", f.Payload)
	}
	call := request{document: `mutation { disconnected(userId: "bob") { userId } }`, header: r.Header}
	if answer := w.send(call); !strings.Contains(answer, "signature we calculated does not match") {
		t.Errorf("over HTTP: %s", answer)
	}
	s.start("2", watchBob, authorization)
	s.expect(wire.TypeStartAck)
}

// Two subscriptions at the same document are each authorized: the second finds
// what the first has parsed, but not the first's rights.
func TestSharedSubscriptionIsAuthorizedEachTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	s := w.open(w.token("alice"))
	s.start("1", watchBob, map[string]string{"Authorization": w.token("alice")})
	s.expect(wire.TypeStartAck)
	other := strings.Replace(w.token("alice"), ".", ".e30", 1)
	for name, authorization := range map[string]map[string]string{
		"none": {}, "api-key": {"x-api-key": "da2-any"}, "tampered": {"Authorization": other}, "host-alone": {"host": "localhost"},
	} {
		s.start(name, watchBob, authorization)
		f := s.expect(wire.TypeError)
		var payload struct{ Errors []wire.Error }
		if err := json.Unmarshal(f.Payload, &payload); err != nil || payload.Errors[0].ErrorType != "UnauthorizedException" {
			t.Errorf("%s: %s", name, f.Payload)
		}
	}
}
