package security_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/eventbus"
	"presence/internal/testenv"
	"presence/internal/wire"
)

// Users may be called anything a token may say. None of it reaches another
// user's keys, or leaves the slot of its shard in a cluster.
func TestUserIDsAreNoKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	users := []string{
		"alice", "ALICE", "alice ", " alice", "a\u200blice", "é", "e\u0301", "🦊", "\u202eecila",
		"{", "}", "{}", "{0}", "}{", "{1}:online", "p{0}:online", ":s:alice", "s:alice", "alice:p:x", "alice:s:tab",
		"*", "?", "[a-z]", "%s%n", "\\", `"`, "'", "alice' ..", "-inf", "+inf", "nan", "0", "1e309", "(1", "KEYS[1]", "ARGV", "nil",
		"alice\u2028bob", strings.Repeat("{", 128), strings.Repeat("x", 128),
	}
	page := func(i int) string { return fmt.Sprintf("https://example.com/%d", i) }
	for i, user := range users {
		w.connect(user, "tab", page(i))
		w.connect(user, user, page(i))
	}
	check := func(when string, online func(i int) bool) {
		t.Helper()
		for i, user := range users {
			state := w.state(user)
			if want := online(i); want != (state.Status == presence.Online) || want && *state.URL != page(i) {
				t.Errorf("%s: %q is %s on %v", when, user, state.Status, state.URL)
			}
		}
	}
	check("all here", func(int) bool { return true })
	for i, user := range users {
		if i%2 == 0 {
			w.send(request{token: w.token(user), document: `mutation { a: disconnect(sessionId: "tab") { url } }`})
			session, _ := json.Marshal(map[string]string{"s": user})
			w.send(request{token: w.token(user), document: `mutation($s: ID) { disconnect(sessionId: $s) { url } }`, variables: string(session)})
		}
	}
	check("every other gone", func(i int) bool { return i%2 != 0 })

	// What a cluster hashes is between the first brace and the next after it.
	key := regexp.MustCompile(`^p\{0\}:(online|lastseen|outbox|notes|shard|s:.+|p:.+)$`)
	for _, name := range redisClient(t, w.redisURL).Keys(t.Context(), "*").Val() {
		if !key.MatchString(strings.ReplaceAll(name, "\u2028", "")) {
			t.Errorf("key %q", name)
		}
	}
}

func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Numbers no client would send are refused in a sentence, or have no effect
// out of the ordinary: they reach no script as they are.
func TestOddNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.connect("alice", "tab", "https://example.com/")
	for literal, refused := range map[string]bool{
		"1.5": true, "1e5": true, "1e400": true, "-1": true, "75001": true, "2147483648": true, "9007199254740993": true,
		"18446744073709551616": true, "true": true, "[1]": true, "{}": true, `"nan"`: true, `"inf"`: true, `"0x10"`: true,
		`"5"`: true, "null": false, "1e3": false, "1500.0": false, "0": false, "-0": false, "75000": false,
	} {
		// A session that is not there: what is left to go wrong is the number.
		answer := w.send(request{
			token:    w.token("alice"),
			document: `mutation($g: Int) { disconnect(sessionId: "other", graceMs: $g) ` + everything + ` }`, variables: `{"g":` + literal + `}`,
		})
		if refused != strings.Contains(answer, `"errors"`) || strings.Contains(answer, "Unavailable") || strings.Contains(answer, "Internal") {
			t.Errorf("%s: %s", literal, answer)
		}
		if state := w.state("alice"); state.Status != presence.Online || state.AsOf <= 0 || state.ExpiresAt != state.LastSeen+75_000 {
			t.Fatalf("after %s alice is %+v", literal, state)
		}
	}
}

// A title is cut or mangled by whatever made it. What is broken in it is
// replaced, and the call is answered (trial B1).
func TestB1BrokenText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for name, tt := range map[string]struct{ variables, document, want string }{
		"half-a-pair":    {`{"t":"Cats \ud83d"}`, `connect(url: "https://example.com/", title: $t)`, "Cats \ufffd"},
		"other-half":     {`{"t":"\udc31 cats"}`, `connect(url: "https://example.com/", title: $t)`, "\ufffd cats"},
		"halves-swapped": {`{"t":"\udc31\ud83d"}`, `heartbeat(url: "https://example.com/", title: $t)`, "\ufffd\ufffd"},
		"broken-utf8":    {"{\"t\":\"Cats \xf0\x9f\"}", `connect(url: "https://example.com/", title: $t)`, "Cats \ufffd\ufffd"},
		"named-twice":    {`{"t":"first","t":"last"}`, `connect(url: "https://example.com/", title: $t)`, "last"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := w.send(request{token: w.token(name), document: `mutation($t: String!) { answer: ` + tt.document + ` { title } }`, variables: tt.variables})
			var got struct {
				Data struct{ Answer struct{ Title string } }
			}
			if err := json.Unmarshal([]byte(answer), &got); err != nil || got.Data.Answer.Title != tt.want {
				t.Errorf("answered %s (%v), want %q", answer, err, tt.want)
			}
			if kept := w.state(name).Title; kept == nil || *kept != got.Data.Answer.Title {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

// Pages are links to others, so only what is safe to follow is kept, without
// what is not for others to see.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	for url, want := range map[string]string{
		"javascript:alert(1)":                        "",
		"JavaScript://example.com/%0Aalert(1)":       "",
		" https://example.com":                       "",
		"data:text/html,<script>alert(1)</script>":   "",
		"vbscript:x":                                 "",
		"file:///etc/passwd":                         "",
		"blob:https://example.com/1":                 "",
		"//example.com/":                             "",
		"https:example.com":                          "",
		"https:///example.com":                       "",
		`https:\\example.com`:                        "",
		`https://good.example\@evil.example/`:        "",
		"https://a b/":                               "",
		"https://example.com:x/":                     "",
		"https://secret@":                            "",
		"https://example.com/\r\nSet-Cookie: a=b":    "",
		"https://me:secret@example.com/a?b=c#secret": "https://example.com/a?b=c",
		"https://good.example@evil.example/":         "https://evil.example/",
		"HTTPS://example.com/":                       "https://example.com/",
		`https://example.com/"><script>alert(1)`:     "https://example.com/%22%3E%3Cscript%3Ealert%281%29",
		"http://127.0.0.1:1/":                        "http://127.0.0.1:1/",
	} {
		variables, _ := json.Marshal(map[string]string{"u": url})
		answer := w.send(request{token: w.token("alice"), document: `mutation($u: String!) { connect(url: $u, title: "") { url } }`, variables: string(variables)})
		var got struct {
			Data struct{ Connect *struct{ URL string } }
		}
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatal(err)
		}
		switch refused := strings.Contains(answer, `"InvalidArgument"`); {
		case refused != (want == ""):
			t.Errorf("%q: %s", url, answer)
		case !refused && got.Data.Connect.URL != want:
			t.Errorf("%q became %q, want %q", url, got.Data.Connect.URL, want)
		}
	}
}

// Nothing that is secret or private gets into the log or into an error, and
// nobody can write a line of their own, however much goes wrong.
func TestLog(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) string{
		"embedded": func(t *testing.T) string { url, _ := testenv.Embedded(t); return url },
		"redis":    func(t *testing.T) string { return testenv.Redis(t).URL },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testLog(t, start(t))
		})
	}
}

func testLog(t *testing.T, redisURL string) {
	away := httptest.NewServer(nil)
	away.Close()
	// An EventBridge out of reach, and one that says what it was sent.
	repeats := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(rw, `{"__type":"ValidationException","message":"no"}`)
	}))
	t.Cleanup(repeats.Close)
	bus := func(url string) presence.Publisher {
		c, err := eventbus.Client(func(name string) string {
			return map[string]string{"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": accessKeyID, "AWS_SECRET_ACCESS_KEY": secretAccessKey, "AWS_ENDPOINT_URL": url}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		return eventbus.New(c, "presence")
	}
	const lines = `{"level":"ERROR"}`
	secrets := []string{"canary", `\"level\"`, "eyJ"}
	var answers []string
	misuse := func(w *world) {
		token := w.token("alice\u2028" + lines)
		secrets = append(secrets, token, token[strings.LastIndexByte(token, '.')+1:])
		variables := `{"u":"https://me:canary@example.com/canary?canary=1#canary","b":"https://canary.example:port%zz/","t":"canary` + `\u2028{\"level\":\"ERROR\"}"}`
		for _, r := range []request{
			{document: `mutation($u: String!, $b: String!, $t: String!) { connect(url: $u, title: $t) { status } bad: connect(url: $b, title: $t) { url } heartbeat(url: $b, title: "canary\n") { url } disconnect(sessionId: "canary\u0000") { url } }`, variables: variables},
			{document: `mutation($u: String!, $t: String!) { heartbeat(url: $u, title: $t) { status } disconnect { status } }`, variables: variables},
			{document: `mutation { connect(url: "https://canary.example`, variables: variables},
			{document: `mutation { connect(url: 99999999999999999999, title: "canary") { canary } }`},
			{document: `{ status(userId: "` + strings.Repeat("canary", 50) + `") { userId } statuses(userIds: ["canary\u0007"]) { userId } }`},
		} {
			r.token = token
			w.send(r)
			r.token += "canary"
			w.send(r)
			r.token = "AWS4-HMAC-SHA256 Credential=canary/canary, SignedHeaders=canary, Signature=canary"
			w.send(r)
		}
		answers = append(answers, w.send(request{token: token, document: `{ status(userId: "alice") { status } }`}))
		// Queries of a handshake hold a token, too.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/graphql/realtime?header=canary&payload="+token, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.do(req)
	}

	well := newWorld(t, options{redisURL: redisURL, publisher: bus(away.URL)})
	misuse(well)
	s := well.open(well.token("alice"))
	s.start("canary", "canary", map[string]string{"Authorization": "canary"})
	s.expect(wire.TypeError)
	s.send(`{"type":"canary\u2028{\"level\":\"ERROR\"}","payload":"canary"}`)
	s.expect(wire.TypeError)

	refusing := newWorld(t, options{redisURL: redisURL, publisher: bus(repeats.URL)})
	misuse(refusing)
	noKeys := newWorld(t, options{redisURL: redisURL, jwksURL: away.URL})
	misuse(noKeys)
	noRedis := newWorld(t, options{redisURL: "redis://user:canary@127.0.0.1:1"})
	misuse(noRedis)
	// Keys of other types make every script fail, with the page among its arguments.
	broken := newWorld(t, options{redisURL: redisURL})
	c := redisClient(t, redisURL)
	for _, key := range c.Keys(t.Context(), "*").Val() {
		c.Del(t.Context(), key)
	}
	for shard := range shards {
		for _, key := range []string{"online", "lastseen", "outbox", "notes", "shard"} {
			c.Set(t.Context(), fmt.Sprintf("p{%d}:%s", shard, key), "canary", 0)
		}
	}
	misuse(broken)

	for name, w := range map[string]*world{"eventbridge-away": well, "eventbridge-refuses": refusing, "no-keys": noKeys, "no-redis": noRedis, "broken": broken} {
		text := w.logged()
		if text == "" {
			t.Errorf("%s: nothing was logged", name)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the log has %q:\n%s", name, secret, text)
			}
		}
		for line := range strings.Lines(text) {
			var entry struct {
				Time time.Time
				Msg  string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "" {
				t.Errorf("%s: a line that is no entry: %s", name, line)
			}
		}
	}
	for _, answer := range answers {
		for _, cause := range []string{"127.0.0.1", "WRONGTYPE", "dial", "redisstore", "script", ".go:"} {
			if strings.Contains(answer, cause) {
				t.Errorf("a caller is told the cause: %s", answer)
			}
		}
	}
}
