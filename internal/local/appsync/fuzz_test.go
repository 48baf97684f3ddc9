package appsync_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"presence"
	"presence/internal/announce"
	"presence/internal/local/appsync"
	"presence/internal/wire"
	"presence/resolvers"
)

// FuzzGraphQL sends documents and variables over HTTP. Whatever they are, the
// answer is JSON with data or errors, and never the server's fault.
func FuzzGraphQL(f *testing.F) {
	for _, seed := range [][2]string{
		{`{ status(userId: "a") { userId status } }`, `{}`},
		{`query Q($u: ID! = 1, $b: Boolean = true) { a: status(userId: $u) { ...F @include(if: $b) __typename } } fragment F on Presence { url title }`, `{"u":"x","b":null}`},
		{`mutation($s: ID, $g: Int) { disconnect(sessionId: $s, graceMs: $g) { userId } }`, `{"s":null,"g":1.5}`},
		{`mutation { connect(url: """x""", title: "\u00e9") { asOf lastSeen expiresAt heartbeatIntervalMs } }`, ``},
		{`{ statuses(userIds: [1, "2", 99999999999999999999]) { userId } }`, `null`},
		{`subscription { onStatus(userId: 1) { userId } }`, `[]`},
		{`{ __schema { types { name fields(includeDeprecated: true) { name args { defaultValue } type { ofType { name } } } } directives { name args { name } } } }`, `{}`},
		{`{ __type(name: "Presence") { kind interfaces { name } possibleTypes { name } inputFields { name } specifiedByURL } }`, `{"a":[{"b":1e400}]}`},
		{`{ status(userId: 1) { ...A } } fragment A on Presence { ...A }`, `{}`},
		{announce.Rules()[0].Operation(), `{"userId":"a"}`},
		{`query IntrospectionQuery { __schema { queryType { name } } } {`, `{}`},
	} {
		f.Add(seed[0], seed[1])
	}
	s, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Invoker: invoker(fakePresence), Authorize: authorize})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close(f.Context()) })
	f.Fuzz(func(t *testing.T, document, variables string) {
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"query":` + string(text) + `}`
		if json.Valid([]byte(variables)) {
			body = `{"variables":` + variables + `,"query":` + string(text) + `}`
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, appsync.Path, strings.NewReader(body))
		req.Header.Set("Authorization", "bob")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		var answer struct {
			Data   json.RawMessage
			Errors []struct{ Message string }
		}
		if w.Code >= 500 || json.Unmarshal(w.Body.Bytes(), &answer) != nil {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if answer.Data == nil && len(answer.Errors) == 0 {
			t.Fatalf("neither data nor errors: %s", w.Body)
		}
		for _, e := range answer.Errors {
			if e.Message == "" || strings.Contains(e.Message, "panic") {
				t.Fatalf("an error without a sentence: %s", w.Body)
			}
		}
	})
}

// FuzzRealtime sends lines as frames and holds what comes back against the
// protocol's state machine.
func FuzzRealtime(f *testing.F) {
	files, err := filepath.Glob("../../../testdata/realtime/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var sent []string
		for line := range strings.SplitSeq(string(text), "\n") {
			if frame, ok := strings.CutPrefix(line, "> "); ok {
				sent = append(sent, frame)
			}
		}
		f.Add(strings.Join(sent, "\n"))
	}
	server := newServer(f, appsync.Options{})
	f.Fuzz(func(t *testing.T, lines string) {
		ws, _, err := dial(t, server, "header", "bob")
		if err != nil {
			t.Fatal(err)
		}
		frames := strings.Split(lines, "\n")
		if len(frames) > 100 {
			frames = frames[:100]
		}
		// Last comes what has a known answer in every state the socket survives.
		frames = append(frames, `{"type":"connection_init"}`, `{"id":"the end","type":"stop"}`)
		go func() {
			for _, frame := range frames {
				if ws.Write(t.Context(), websocket.MessageText, []byte(frame)) != nil {
					return
				}
			}
		}()
		live := map[string]bool{}
		for {
			text, err := read(t, ws)
			if err != nil {
				// The server gives up on frames that are no JSON, and says so.
				if code := websocket.CloseStatus(err); code != websocket.StatusInvalidFramePayloadData && code != websocket.StatusMessageTooBig {
					t.Fatalf("ended by %v", err)
				}
				return
			}
			var frame wire.Frame
			if err := json.Unmarshal([]byte(text), &frame); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			switch frame.Type {
			case wire.TypeConnectionAck:
			case wire.TypeKeepAlive, wire.TypeStartAck, wire.TypeComplete:
				if frame.Type == wire.TypeStartAck {
					if frame.ID == "" || live[frame.ID] {
						t.Fatalf("acknowledged twice, or nothing: %s", text)
					}
					live[frame.ID] = true
				}
				if frame.Type == wire.TypeComplete {
					delete(live, frame.ID)
					if frame.ID == "the end" {
						return
					}
				}
			case wire.TypeError:
				var payload struct{ Errors []wire.Error }
				if err := json.Unmarshal(frame.Payload, &payload); err != nil || len(payload.Errors) != 1 || payload.Errors[0].Message == "" {
					t.Fatalf("an error without a sentence: %s", text)
				}
			default:
				t.Fatalf("unexpected: %s", text)
			}
		}
	})
}
