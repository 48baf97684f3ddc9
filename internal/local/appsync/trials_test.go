package appsync_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/wire"
)

// The tests of this file are named after the rows of the trials in which stock
// clients, and attackers, found this server to differ from AppSync.

func TestB2ListGivenAsOneValue(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	const bob, statuses = `{"data":{"statuses":[{"userId":"bob"}]}}`, `query($u: [ID!]!) { statuses(userIds: $u) { userId } }`
	for name, c := range map[string]struct {
		document string
		value    any
		want     string
	}{
		"text":             {statuses, "bob", bob},
		"list":             {statuses, []string{"bob"}, bob},
		"number":           {statuses, 7, `{"data":{"statuses":[{"userId":"7"}]}}`},
		"nullable-list":    {`query($u: [ID!] = "bob") { statuses(userIds: $u) { userId } }`, "bob", bob},
		"literal":          {`{ statuses(userIds: "bob") { userId } }`, nil, bob},
		"null-in-the-list": {statuses, []any{nil}, `{"data":null,"errors":[{"path":null,"locations":[{"line":1,"column":7,"sourceName":null}],"message":"Variable 'u' has coerced Null value for NonNull type 'ID!'"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			variables := map[string]any{}
			if c.value != nil {
				variables["u"] = c.value
			}
			if got := query(t, server, "bob", c.document, variables); canonical(t, got) != canonical(t, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	t.Run("inside-an-input-object", func(t *testing.T) {
		t.Parallel()
		ws := open(t, server, "bob")
		start(t, ws, "1", "bob", `subscription($w: Watch!) { onPresence(watch: $w) { userId } }`, map[string]any{"w": map[string]any{"userIds": "alice"}})
		expect(t, ws, `"start_ack"`)
		query(t, server, "iam", connected, map[string]any{"u": "alice"})
		expect(t, ws, `"alice"`)
	})
}

func TestB3Numbers(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{
		Schema: `
			type Query { f(i: Int, x: Float, b: Boolean, s: String, id: ID, e: E, at: AWSDateTime, ts: AWSTimestamp, in: In): String }
			enum E { A }
			input In { n: Int list: [In] must: Int! = 1 }`,
		Invoker: invoker(func(_ context.Context, c call) (any, error) { return string(c.Arguments), nil }),
	})
	for name, c := range map[string]struct{ argument, typ, value, want string }{
		"whole":          {"i", "Int", `1500`, `{"i":1500}`},
		"point":          {"i", "Int", `1500.0`, `{"i":1500}`},
		"exponent":       {"i", "Int", `1e2`, `{"i":100}`},
		"both":           {"i", "Int", `-1.5e1`, `{"i":-15}`},
		"float-of-whole": {"x", "Float", `2`, `{"x":2}`},
		"id-number":      {"id", "ID", `12345678901234567890`, `{"id":"12345678901234567890"}`},
		"timestamp":      {"ts", "AWSTimestamp", `1.7e9`, `{"ts":1700000000}`},
		"nested":         {"in", "In", `{"n":1e2,"list":{"n":2.0}}`, `{"in":{"list":[{"must":1,"n":2}],"must":1,"n":100}}`},

		"half":          {"i", "Int", `1.5`, "Variable 'v' has an invalid value. Unable to parse `1.5` as a valid Int."},
		"too-large":     {"i", "Int", `2147483648`, "Variable 'v' has an invalid value. Unable to parse `2147483648` as a valid Int."},
		"text":          {"i", "Int", `"5"`, "Variable 'v' has an invalid value. Unable to parse `5` as a valid Int."},
		"boolean":       {"i", "Int", `true`, "Variable 'v' has an invalid value. Unable to parse `true` as a valid Int."},
		"object":        {"i", "Int", `{"a":1}`, "Variable 'v' has an invalid value. Unable to parse `{\"a\":1}` as a valid Int."},
		"list":          {"i", "Int", `[1]`, "Variable 'v' has an invalid value. Unable to parse `[1]` as a valid Int."},
		"float-text":    {"x", "Float", `"1"`, "Variable 'v' has an invalid value. Unable to parse `1` as a valid Float."},
		"number-text":   {"s", "String", `1`, "Variable 'v' has an invalid value. Unable to parse `1` as a valid String."},
		"boolean-text":  {"b", "Boolean", `"true"`, "Variable 'v' has an invalid value. Unable to parse `true` as a valid Boolean."},
		"id-half":       {"id", "ID", `1.5`, "Variable 'v' has an invalid value. Unable to parse `1.5` as a valid ID."},
		"enum":          {"e", "E", `"B"`, "Variable 'v' has an invalid value. Invalid input for Enum 'E'. No value found for name 'B'"},
		"date":          {"at", "AWSDateTime", `"2019"`, "Variable 'v' has an invalid value. Unable to parse `2019` as a valid DateTime Object."},
		"no-object":     {"in", "In", `"x"`, "Variable 'v' has an invalid value. Unable to parse `x` as a valid In."},
		"nested-text":   {"in", "In", `{"list":[{"n":"x"}]}`, "Variable 'n' has an invalid value. Unable to parse `x` as a valid Int. It is a field of the variable 'v' of type 'In'."},
		"nested-null":   {"in", "In", `{"must":null}`, "Variable 'v' has coerced Null value for NonNull type 'Int!'"},
		"unknown-field": {"in", "In", `{"nope":1}`, "The variables input contains a field that is not defined for input object type 'In' "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, got := post(t, server, "bob", `{"query":"query($v: `+c.typ+`) { f(`+c.argument+`: $v) }","variables":{"v":`+c.value+`}}`)
			if !strings.Contains(got, encode(t, c.want)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestB5RefusedSignatures(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]wire.SignatureError{
		"unknown-key":     wire.UnrecognizedClient,
		"wrong-signature": wire.InvalidSignature,
		"header-absent":   wire.IncompleteSignature,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Authorize: func(_ context.Context, c wire.Credentials) (*wire.Identity, error) {
				if c.Header.Get("Authorization") == "bob" {
					return &wire.Identity{Sub: "bob", Username: "bob"}, nil
				}
				return nil, &presence.Error{Code: presence.Unauthorized, Message: "Why.", Err: as}
			}})
			status, header, body := post(t, server, "AWS4-HMAC-SHA256 x", `{"query":"{__typename}"}`)
			if want := `{"errors":[{"message":"Why.","errorType":"` + string(as) + `"}]}`; status != http.StatusForbidden || body != want || header.Get("x-amzn-errortype") != string(as) {
				t.Errorf("status %d, %s, want 403 %s", status, body, want)
			}
			ws, _, err := dial(t, server, "plain", "AWS4-HMAC-SHA256 x")
			if err != nil {
				t.Fatal(err)
			}
			send(t, ws, `{"type":"connection_init"}`)
			if got := expect(t, ws, `"connection_error"`); !strings.Contains(got, `"errorCode":403`) || !strings.Contains(got, string(as)) {
				t.Errorf("handshake: %s", got)
			}
			ws = open(t, server, "bob")
			start(t, ws, "1", "AWS4-HMAC-SHA256 x", onStatus, map[string]any{"u": "alice"})
			if got := expect(t, ws, `"error"`); !strings.Contains(got, string(as)) {
				t.Errorf("start: %s", got)
			}
		})
	}
}

func TestB8SubscriptionByPOST(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	const want = `{"errors":[{"message":"Subscriptions over MQTT is not supported.","errorType":"BadRequestException"}]}`
	for name, document := range map[string]string{
		"plain":    `subscription { onStatus(userId: 1) { userId } }`,
		"fragment": `subscription { ...F } fragment F on Subscription { onStatus(userId: 1) { userId } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, _, got := post(t, server, "bob", encode(t, map[string]string{"query": document})); status != http.StatusBadRequest || got != want {
				t.Errorf("status %d: %s", status, got)
			}
		})
	}
}

func TestB9InvalidStart(t *testing.T) {
	t.Parallel()
	ws := open(t, newServer(t, appsync.Options{}), "bob")
	for name, c := range map[string]struct{ document, want string }{
		"unknown-field":    {`subscription { nope }`, "Validation error of type FieldUndefined: Field 'nope' in type 'Subscription' is undefined @ 'nope'"},
		"syntax":           {`subscription {`, "Unable to parse GraphQL query."},
		"missing-variable": {onStatus, "Variable 'u' has coerced Null value for NonNull type 'ID!'"},
		"wrong-literal":    {`subscription { onStatus(userId: true) { userId } }`, "Validation error of type WrongType: ID cannot represent a non-string and non-integer value: true @ 'onStatus'"},
		"typename":         {`subscription { __typename }`, "Validation error of type SubscriptionMultipleRootFields: Anonymous Subscription must not select an introspection top level field. @ '__typename'"},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, ws, name, "bob", c.document, nil)
			got := expect(t, ws, `"error"`)
			if want := `{"id":"` + name + `","type":"error","payload":{"errors":[{"message":"` + c.want + `"}]}}`; canonical(t, got) != canonical(t, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestB10VariableOfAnotherType(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, c := range map[string]struct{ document, want string }{
		"string-for-id": {`query($u: String!) { status(userId: $u) { userId } }`, "Variable type 'String!' doesn't match expected type 'ID!' @ 'status'"},
		"nullable":      {`query($u: ID) { status(userId: $u) { userId } }`, "Variable type 'ID' doesn't match expected type 'ID!' @ 'status'"},
		"list":          {`query($u: [ID]) { statuses(userIds: $u) { userId } }`, "Variable type '[ID]' doesn't match expected type '[ID!]!' @ 'statuses'"},
		"in-a-list":     {`query($u: String!) { statuses(userIds: [$u]) { userId } }`, "Variable type 'String!' doesn't match expected type 'ID!' @ 'statuses'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := query(t, server, "bob", c.document, map[string]any{"u": "a"}); !strings.Contains(got, `"message":"Validation error of type VariableTypeMismatch: `+c.want+`"`) {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestB6Subprotocol(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, c := range map[string]struct {
		subprotocols []string
		want         string
	}{
		"none":        {nil, "NoProtocolError"},
		"foreign":     {[]string{"graphql-transport-ws"}, "SubProtocolNotSupportedError"},
		"header-only": {[]string{"header-e30"}, "SubProtocolNotSupportedError"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, _, err := websocket.Dial(t.Context(), server.URL+appsync.RealtimePath, &websocket.DialOptions{
				Subprotocols: c.subprotocols, HTTPHeader: http.Header{"Authorization": {"bob"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			got, err := read(t, ws) // Unasked.
			if want := `{"type":"connection_error","payload":{"errors":[{"message":"` + c.want + `","errorCode":400}]}}`; err != nil || canonical(t, got) != canonical(t, want) {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
			if _, err := read(t, ws); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("then %v", err)
			}
		})
	}
}

// The socket outlives the time for connection_init, and gets its ka.
func TestB7StartWithoutInit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *pipes) {
		ws := dialPipe(t, p, "bob") // Takes the ka that comes unasked.
		defer func() { _ = ws.CloseNow() }()
		begun := time.Now()
		start(t, ws, "1", "bob", onStatus, map[string]any{"u": "alice"})
		expect(t, ws, `"start_ack"`)
		if _, text, err := ws.Read(t.Context()); err != nil || string(text) != `{"type":"ka"}` || time.Since(begun) != time.Minute {
			t.Errorf("%s, %v, after %v", text, err, time.Since(begun))
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		ws, _, err := dial(t, newServer(t, appsync.Options{}), "header", "nobody")
		if err != nil {
			t.Fatal(err)
		}
		start(t, ws, "1", "bob", onStatus, map[string]any{"u": "alice"})
		expect(t, ws, `"connection_error"`)
	})
}

func TestB12LongIDs(t *testing.T) {
	t.Parallel()
	ws := open(t, newServer(t, appsync.Options{}), "bob")
	for _, kind := range []string{"start", "stop", "nonsense", "connection_init"} {
		send(t, ws, `{"id":"`+strings.Repeat("x", 129)+`","type":"`+kind+`"}`)
		if got := expect(t, ws, "longer than 128 bytes"); strings.Contains(got, "xxx") {
			t.Errorf("%s: echoed", kind)
		}
	}
	id := strings.Repeat("x", 128)
	start(t, ws, id, "bob", onStatus, map[string]any{"u": "alice"})
	expect(t, ws, `"start_ack"`)
}

// Each way to send too much is cut, and what is sent before is not answered
// without end.
func TestB15FloodsAreCut(t *testing.T) {
	t.Parallel()
	frame := func(size int) func(context.Context, *websocket.Conn, net.Conn) error {
		text := []byte(`{"type":"nonsense","pad":"` + strings.Repeat("x", size) + `"}`)
		return func(ctx context.Context, ws *websocket.Conn, _ net.Conn) error {
			return ws.Write(ctx, websocket.MessageText, text)
		}
	}
	raw := func(frame string) func(context.Context, *websocket.Conn, net.Conn) error {
		return func(_ context.Context, _ *websocket.Conn, wire net.Conn) error {
			_, err := wire.Write([]byte(frame))
			return err
		}
	}
	for name, flood := range map[string]func(context.Context, *websocket.Conn, net.Conn) error{
		"small-frames": frame(10),
		"large-frames": frame(100_000),
		// As they are on the wire: [websocket.Conn.Ping] would wait for the pong.
		"pings": raw("\x89\x80\x00\x00\x00\x00"),
		"pongs": raw("\x8a\x80\x00\x00\x00\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wire net.Conn
			ws, _, err := websocket.Dial(t.Context(), newServer(t, appsync.Options{}).URL+appsync.RealtimePath, &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					var err error
					wire, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return wire, err
				}}},
				HTTPHeader: http.Header{"Authorization": {"bob"}}, Subprotocols: []string{"graphql-ws"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			answers := make(chan int)
			go func() {
				n := 0
				for ; ; n++ {
					if _, _, err := ws.Read(t.Context()); err != nil {
						break
					}
				}
				answers <- n
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			sent := 0
			for ; ctx.Err() == nil && flood(ctx, ws, wire) == nil; sent++ { // Ends when the server cuts.
			}
			if ctx.Err() != nil {
				t.Errorf("%d were taken, and the socket is still there", sent)
			}
			if n := <-answers; n > 1010 {
				t.Errorf("%d answers", n)
			}
		})
	}
}

// What one socket that does not read can make wait is bounded in bytes, and one
// message is at most 240 KB.
func TestB11LargePayloads(t *testing.T) {
	t.Parallel()
	aliases := manyTimes(3_500, func(i int) string { return fmt.Sprintf("a%d:title ", i) })
	titled := invoker(func(ctx context.Context, c call) (any, error) {
		answer, err := fakePresence(ctx, c)
		if c.Field == "Mutation.connected" {
			p := answer.(map[string]any)["data"].(presence.Presence)
			title := strings.Repeat("x", 1024)
			p.Title = &title
			answer = data(p)
		}
		return answer, err
	})
	server := newServer(t, appsync.Options{Invoker: titled})
	const mutation = `mutation($u: ID!) { connected(userId: $u) { title topics } }`
	t.Run("payload", func(t *testing.T) {
		t.Parallel()
		ws := open(t, server, "carol")
		start(t, ws, "1", "carol", `subscription { onStatus(userId: "u1") { `+aliases+` } }`, nil)
		expect(t, ws, `"start_ack"`)
		query(t, server, "iam", mutation, map[string]any{"u": "u1"})
		expect(t, ws, `{"data":{"onStatus":null},"errors":[{"message":"The subscription's payload is larger than 240 KB."}]}`)
	})
	t.Run("just-below", func(t *testing.T) {
		t.Parallel()
		ws := open(t, server, "dave")
		start(t, ws, "1", "dave", `subscription { onStatus(userId: "u2") { `+manyTimes(200, func(i int) string { return fmt.Sprintf("a%d:title ", i) })+` } }`, nil)
		expect(t, ws, `"start_ack"`)
		query(t, server, "iam", mutation, map[string]any{"u": "u2"})
		expect(t, ws, `"a199":"xxx`)
	})
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		inBubble(t, func(t *testing.T, p *pipes) {
			ws := dialPipe(t, p, "bob")
			defer func() { _ = ws.CloseNow() }()
			s := p.server
			for i := range 150 {
				start(t, ws, strconv.Itoa(i), "bob", `subscription { onStatus(userId: "alice") { `+manyTimes(2_000, func(i int) string { return fmt.Sprintf("a%d:url ", i) })+` } }`, nil)
				expect(t, ws, `"start_ack"`)
			}
			for range 4 { // 150 times 70 KB each.
				r := httptest.NewRequest(http.MethodPost, appsync.Path, strings.NewReader(`{"query":"mutation { connected(userId: \"alice\") { url topics } }"}`))
				r.Header.Set("Authorization", "iam")
				s.ServeHTTP(httptest.NewRecorder(), r)
				if waiting := s.Waiting(); waiting > 5<<20 {
					t.Errorf("%d bytes wait", waiting)
				}
			}
			for {
				if _, _, err := ws.Read(t.Context()); err != nil {
					break // Cut.
				}
			}
			synctest.Wait()
			if waiting := s.Waiting(); waiting != 0 {
				t.Errorf("%d bytes wait for nobody", waiting)
			}
		})
	})
}

// An operation is refused before it has cost what it asks for.
func TestB13Budget(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
		calls.Add(1)
		return fakePresence(ctx, c)
	})})
	connects := func(n int) string {
		return "mutation {" + manyTimes(n, func(i int) string { return fmt.Sprintf(`a%d: connect(url: "u", title: "") { userId } `, i) }) + "}"
	}
	const limit = `{"data":null,"errors":[{"path":null,"locations":null,"message":"Resolver invocation limit reached.","data":null,"errorType":"ResolverExecutionLimitReached","errorInfo":null}]}`
	for name, c := range map[string]struct {
		document string
		calls    int64
		want     string
	}{
		"as-many-as-deployed": {connects(wire.ResolverCountLimit), wire.ResolverCountLimit, `"a19"`},
		"one-more":            {connects(wire.ResolverCountLimit + 1), 0, limit},
		"a-thousand":          {connects(1_000), 0, limit},
		"in-fragments": {"{ ...A ...B }" + manyTimes(2, func(i int) string {
			return fmt.Sprintf("fragment %c on Query {", 'A'+i) + manyTimes(11, func(j int) string { return fmt.Sprintf(`a%d: status(userId: 1) { userId } `, i*11+j) }) + "}"
		}), 0, limit},
		"introspection": {"{" + manyTimes(60, func(i int) string {
			return fmt.Sprintf("a%d: __schema { types { name fields { name type { name } } } } ", i)
		}) + "}", 0, "selects __schema and __type 60 times; at most 3 are allowed"},
		"wide-introspection": {"{ __schema { " + manyTimes(700, func(i int) string {
			return fmt.Sprintf("a%d: types { description name fields { description name } } ", i)
		}) + "} }", 0, "larger than 5 MB"},
		"long-names": {"{" + manyTimes(100, func(i int) string { return strings.Repeat("x", 9_000) + strconv.Itoa(i) + " " }) + "}", 0, "FieldUndefined"},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			got := query(t, server, "bob", c.document, nil)
			if !strings.Contains(got, c.want) || calls.Load() != c.calls {
				t.Errorf("%d calls: %.300s", calls.Load(), got)
			}
			if len(got) > 200_000 {
				t.Errorf("an answer of %d bytes", len(got))
			}
		})
	}
	t.Run("variables", func(t *testing.T) {
		// Each field would get a copy of all of them, one megabyte.
		variables := map[string]any{}
		for i := range 1_000 {
			variables[fmt.Sprintf("v%d", i)] = strings.Repeat("x", 900)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		query(t, server, "bob", connects(wire.ResolverCountLimit), variables)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 40<<20 {
			t.Errorf("%d MB for one request of 1 MB", used>>20)
		}
	})
}

// Who is refused by a header has no body read, and one caller's use leaves the
// others' alone.
func TestB14QuotasOfCallers(t *testing.T) {
	t.Parallel()
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{CheckSignature: func(wire.Credentials) error {
			return &presence.Error{Code: presence.Unauthorized, Message: "x", Err: wire.UnrecognizedClient}
		}})
		for who, want := range map[string]int{"": 401, "nobody": 401, "AWS4-HMAC-SHA256 x": 403} {
			// The body never comes, and is not waited for.
			body, writer := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+appsync.Path, body)
			if err != nil {
				t.Fatal(err)
			}
			if status, _, _ := do(t, server, who, req); status != want {
				t.Errorf("%q: status %d, want %d", who, status, want)
			}
			_ = writer.Close()
		}
	})
	t.Run("sockets", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{MaxConnections: 1_000, MaxCallerConnections: 2})
		open(t, server, "bob")
		open(t, server, "bob")
		if _, resp, err := dial(t, server, "header", "bob"); err == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a third socket of bob: %v, %v", resp, err)
		}
		for range 100 {
			if _, _, err := dial(t, server, "header", "nobody"); err != nil {
				t.Fatal(err)
			}
		}
		if _, resp, err := dial(t, server, "header", "nobody"); err == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a socket too many of nobody: %v, %v", resp, err)
		}
		open(t, server, "alice")
	})
	t.Run("subscriptions", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{})
		bob, alice := open(t, server, "bob"), open(t, server, "alice")
		pad := strings.Repeat(" ", 60_000)
		on := func(i int) string { return fmt.Sprintf(`subscription S%d { onStatus(userId: 1) { userId } }`, i) + pad }
		for i := range 8 {
			start(t, bob, strconv.Itoa(i), "bob", on(i), nil)
			expect(t, bob, `"start_ack"`)
		}
		start(t, bob, "x", "bob", on(8), nil)
		expect(t, bob, "too many different subscriptions")
		start(t, alice, "1", "alice", on(9), nil)
		expect(t, alice, `"start_ack"`)
		// What ends makes room.
		send(t, bob, `{"id":"0","type":"stop"}`)
		expect(t, bob, `"complete"`)
		start(t, bob, "x", "bob", on(8), nil)
		expect(t, bob, `"start_ack"`)
	})
}
