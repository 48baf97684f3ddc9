package appsync_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/wire"
	"presence/resolvers"
)

// dial opens a socket as a caller, by the carrier named: header (the
// subprotocol), query, plain or raw, which takes who for the subprotocol.
func dial(tb testing.TB, server *httptest.Server, carrier, who string) (*websocket.Conn, *http.Response, error) {
	tb.Helper()
	header := `{"Authorization":"` + who + `","host":"localhost"}`
	url := server.URL + appsync.RealtimePath
	options := &websocket.DialOptions{Subprotocols: []string{"graphql-ws"}, HTTPHeader: http.Header{}}
	switch carrier {
	case "header":
		options.Subprotocols = append(options.Subprotocols, "header-"+base64.RawURLEncoding.EncodeToString([]byte(header)))
	case "query":
		// Clients do not escape the plus signs.
		url += "?header=" + base64.StdEncoding.EncodeToString([]byte(header)) + "&payload=e30="
	case "plain":
		options.HTTPHeader.Set("Authorization", who)
	case "raw":
		options.Subprotocols = append(options.Subprotocols, who)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, url, options)
	if err == nil {
		ws.SetReadLimit(1 << 20)
		tb.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, resp, err
}

func read(tb testing.TB, ws *websocket.Conn) (string, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	_, text, err := ws.Read(ctx)
	return string(text), err
}

func send(tb testing.TB, ws *websocket.Conn, text string) {
	tb.Helper()
	if err := ws.Write(tb.Context(), websocket.MessageText, []byte(text)); err != nil {
		tb.Fatal(err)
	}
}

// TestTranscripts plays testdata/realtime against the server:
//
//   - carrier who     opens the socket
//     > frame           is sent
//     < frame           is the next to arrive; << takes any order in its block
//     ! who document    is sent over HTTP
//     x code            is the socket's end
//
// At the end of a transcript nothing else may have arrived.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../testdata/realtime/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, newServer(t, appsync.Options{}), string(text))
		})
	}
}

func play(t *testing.T, server *httptest.Server, transcript string) {
	var ws *websocket.Conn
	closed := false
	unordered := map[string]bool{}
	for number, line := range strings.Split(strings.TrimSpace(transcript), "\n") {
		action, rest, _ := strings.Cut(line, " ")
		if action != "<<" && len(unordered) > 0 {
			t.Fatalf("before line %d: not arrived: %v", number+1, unordered)
		}
		switch action {
		case "*":
			carrier, who, _ := strings.Cut(rest, " ")
			var err error
			if ws, _, err = dial(t, server, carrier, who); err != nil {
				t.Fatal(err)
			}
			if ws.Subprotocol() != "graphql-ws" {
				t.Errorf("subprotocol %q", ws.Subprotocol())
			}
		case ">":
			send(t, ws, rest)
		case "!":
			who, document, _ := strings.Cut(rest, " ")
			query(t, server, who, document, nil)
		case "<":
			got, err := read(t, ws)
			if err != nil {
				t.Fatalf("line %d: %v", number+1, err)
			}
			if diff := cmp.Diff(canonical(t, rest), canonical(t, got)); diff != "" {
				t.Fatalf("line %d: -want +got:\n%s", number+1, diff)
			}
		case "<<":
			// The first line of a block reads for all of it.
			if len(unordered) == 0 {
				lines := strings.Split(strings.TrimSpace(transcript), "\n")
				for _, l := range lines[number:] {
					if !strings.HasPrefix(l, "<< ") {
						break
					}
					got, err := read(t, ws)
					if err != nil {
						t.Fatalf("line %d: %v", number+1, err)
					}
					unordered[canonical(t, got)] = true
				}
			}
			want := canonical(t, rest)
			if !unordered[want] {
				t.Fatalf("line %d: want %s among %v", number+1, want, unordered)
			}
			delete(unordered, want)
		case "x":
			code, err := strconv.Atoi(rest)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, ws); websocket.CloseStatus(err) != websocket.StatusCode(code) {
				t.Fatalf("line %d: got %v, want close %d", number+1, err, code)
			}
			closed = true
		}
	}
	if closed {
		return
	}
	// Frames keep their order: what should not have come would come before this.
	send(t, ws, `{"id":"end","type":"stop"}`)
	if got, err := read(t, ws); err != nil || canonical(t, got) != `{"id":"end","type":"complete"}` {
		t.Errorf("at the end: got %s, %v", got, err)
	}
}

func start(tb testing.TB, ws *websocket.Conn, id, who, document string, variables map[string]any) {
	tb.Helper()
	send(tb, ws, encode(tb, map[string]any{"id": id, "type": "start", "payload": map[string]any{
		"data":       encode(tb, map[string]any{"query": document, "variables": variables}),
		"extensions": map[string]any{"authorization": map[string]string{"Authorization": who, "host": "localhost"}},
	}}))
}

// expect reads frames, keep-alives aside, until one that contains text.
func expect(tb testing.TB, ws *websocket.Conn, text string) string {
	tb.Helper()
	for {
		got, err := read(tb, ws)
		if err != nil {
			tb.Fatalf("waiting for %s: %v", text, err)
		}
		if strings.Contains(got, text) {
			return got
		}
		if !strings.Contains(got, `"ka"`) {
			tb.Fatalf("got %s, want %s", got, text)
		}
	}
}

// open opens a socket up to its connection_ack.
func open(tb testing.TB, server *httptest.Server, who string) *websocket.Conn {
	tb.Helper()
	ws, _, err := dial(tb, server, "header", who)
	if err != nil {
		tb.Fatal(err)
	}
	send(tb, ws, `{"type":"connection_init"}`)
	expect(tb, ws, `"connection_ack"`)
	return ws
}

// Arguments filter on the mutation's result, as it was selected: one left out
// filters nothing, null asks for null, and a field that was not selected
// matches neither.
func TestFilters(t *testing.T) {
	t.Parallel()
	schema := `
		enum E { A B }
		type Thing { id: ID n: Int e: E tags: [String] }
		type Query { a: Int }
		type Mutation { set(id: ID, n: Int, e: E, tags: [String]): Thing other: Thing list: [Thing] }
		type Subscription {
			on(id: ID, n: Int, e: E, tags: [String], nope: Int): Thing @aws_subscribe(mutations: ["set"])
			also: Thing @aws_subscribe(mutations: ["set", "other"])
		}`
	echo := invoker(func(_ context.Context, c call) (any, error) {
		if c.Field == "Mutation.list" {
			return []any{c.Arguments}, nil
		}
		return c.Arguments, nil
	})
	for name, c := range map[string]struct {
		subscription string
		variables    map[string]any
		mutation     string
		want         bool
	}{
		"no-argument":           {`{on{id}}`, nil, `{set(id:"1"){id}}`, true},
		"equal":                 {`{on(id:"1"){id}}`, nil, `{set(id:"1"){id}}`, true},
		"equal-int-literal":     {`{on(id:1){id}}`, nil, `{set(id:"1"){id}}`, true},
		"different":             {`{on(id:"1"){id}}`, nil, `{set(id:"2"){id}}`, false},
		"and":                   {`{on(id:"1",n:2){id}}`, nil, `{set(id:"1",n:2){id n}}`, true},
		"and-different":         {`{on(id:"1",n:2){id}}`, nil, `{set(id:"1",n:3){id n}}`, false},
		"not-selected":          {`{on(id:"1",n:2){id}}`, nil, `{set(id:"1",n:2){id}}`, false},
		"under-an-alias":        {`{on(n:2){n}}`, nil, `{set(n:2){x:n}}`, false},
		"another-as-the-field":  {`{on(id:"2"){n}}`, nil, `{set(id:"1",n:2){id:n}}`, false},
		"another-of-its-type":   {`{on(tags:["a"]){n}}`, nil, `{set(tags:["a"]){tags:tags}}`, true},
		"null-is-null":          {`{on(n:null){id}}`, nil, `{set(id:"1"){id n}}`, true},
		"null-is-not-a-value":   {`{on(n:null){id}}`, nil, `{set(n:1){id n}}`, false},
		"null-is-not-absent":    {`{on(n:null){id}}`, nil, `{set(id:"1"){id}}`, false},
		"value-is-not-null":     {`{on(n:1){id}}`, nil, `{set(id:"1"){id n}}`, false},
		"null-variable":         {`($n:Int){on(n:$n){id}}`, map[string]any{"n": nil}, `{set(n:1){n}}`, false},
		"absent-variable":       {`($n:Int){on(n:$n){id}}`, nil, `{set(n:1){n}}`, true},
		"enum":                  {`{on(e:A){e}}`, nil, `{set(e:A){e}}`, true},
		"enum-variable":         {`($e:E){on(e:$e){e}}`, map[string]any{"e": "B"}, `{set(e:A){e}}`, false},
		"list":                  {`{on(tags:["a"]){tags}}`, nil, `{set(tags:["a"]){tags}}`, true},
		"argument-is-no-field":  {`{on(nope:1){id}}`, nil, `{set(id:1){id}}`, false},
		"other-subscription":    {`{also{id}}`, nil, `{set(id:1){id}}`, true},
		"other-mutation":        {`{on{id}}`, nil, `{other{id}}`, false},
		"list-result":           {`{also{id}}`, nil, `{list{id}}`, false},
		"included-by-directive": {`{on(id:"1"){id}}`, nil, `{set(id:"1"){id @include(if:true)}}`, true},
		"skipped-by-directive":  {`{on(id:"1"){id}}`, nil, `{set(id:"1"){n id @skip(if:true)}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Schema: schema, Invoker: echo})
			ws := open(t, server, "bob")
			start(t, ws, "1", "bob", "subscription"+c.subscription, c.variables)
			expect(t, ws, `"start_ack"`)
			if got := query(t, server, "bob", "mutation"+c.mutation, nil); strings.Contains(got, "errors") {
				t.Fatal(got)
			}
			send(t, ws, `{"id":"1","type":"stop"}`)
			want := `"complete"`
			if c.want {
				want = `"data"`
			}
			expect(t, ws, want)
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const on = `subscription($u: ID!) { onStatus(userId: $u) { userId } }`
	t.Run("subscriptions", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{})
		ws := open(t, server, "bob")
		for i := range 200 {
			start(t, ws, strconv.Itoa(i), "bob", on, map[string]any{"u": strconv.Itoa(i)})
		}
		for range 200 {
			expect(t, ws, `"start_ack"`)
		}
		start(t, ws, "200", "bob", on, map[string]any{"u": "x"})
		if got := expect(t, ws, `"MaxSubscriptionsReachedError"`); !strings.Contains(got, "Max number of 200 subscriptions reached") {
			t.Error(got)
		}
		// One that ends makes room for another.
		send(t, ws, `{"id":"7","type":"stop"}`)
		expect(t, ws, `"complete"`)
		start(t, ws, "200", "bob", on, map[string]any{"u": "x"})
		expect(t, ws, `"start_ack"`)
	})
	t.Run("different-operations", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{})
		server.Config.Handler.(*appsync.Server).LimitOperations(150)
		ws := open(t, server, "bob")
		named := func(name string) string { return strings.Replace(on, "(", " "+name+"(", 1) }
		start(t, ws, "1", "bob", named("A"), map[string]any{"u": "1"})
		expect(t, ws, `"start_ack"`)
		start(t, ws, "2", "bob", named("A"), map[string]any{"u": "2"})
		expect(t, ws, `"start_ack"`) // The same one takes no room.
		start(t, ws, "3", "bob", named("B"), map[string]any{"u": "3"})
		expect(t, ws, `"start_ack"`)
		start(t, ws, "4", "bob", named("C"), map[string]any{"u": "4"})
		expect(t, ws, `"LimitExceededError"`)
		send(t, ws, `{"id":"3","type":"stop"}`)
		expect(t, ws, `"complete"`)
		start(t, ws, "4", "bob", named("C"), map[string]any{"u": "4"})
		expect(t, ws, `"start_ack"`)
	})
	t.Run("connections", func(t *testing.T) {
		t.Parallel()
		server := newServer(t, appsync.Options{MaxConnections: 1})
		open(t, server, "bob")
		_, resp, err := dial(t, server, "header", "bob")
		if err == nil || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("x-amzn-errortype") != "LimitExceededError" {
			t.Errorf("%v, %v", err, resp)
		}
	})
	t.Run("frame-size", func(t *testing.T) {
		t.Parallel()
		ws := open(t, newServer(t, appsync.Options{}), "bob")
		expect(t, ws, `"ka"`)
		send(t, ws, strings.Repeat(" ", 128<<10+1))
		if _, err := read(t, ws); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("got %v", err)
		}
	})
	t.Run("binary-frame", func(t *testing.T) {
		t.Parallel()
		ws := open(t, newServer(t, appsync.Options{}), "bob")
		expect(t, ws, `"ka"`)
		if err := ws.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"connection_init"}`)); err != nil {
			t.Fatal(err)
		}
		expect(t, ws, `"BadRequestException"`)
	})
}

// A page of another origin may open a socket, as with AppSync, but nothing its
// browser adds lets it in.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, c := range map[string]struct {
		subprotocols []string
		status       int
	}{
		"cookies-alone": {[]string{"graphql-ws"}, http.StatusUnauthorized},
		"with-a-token":  {[]string{"graphql-ws", "header-" + base64.RawURLEncoding.EncodeToString([]byte(`{"Authorization":"bob"}`))}, http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, resp, _ := websocket.Dial(t.Context(), server.URL+appsync.RealtimePath, &websocket.DialOptions{
				Subprotocols: c.subprotocols,
				HTTPHeader:   http.Header{"Origin": {"https://evil.example"}, "Cookie": {"session=bob; Authorization=bob"}},
			})
			if ws != nil {
				defer func() { _ = ws.CloseNow() }()
			}
			if resp == nil || resp.StatusCode != c.status {
				t.Errorf("got %v, want status %d", resp, c.status)
			}
		})
	}
}

// Closing the server tells every socket.
func TestClose(t *testing.T) {
	t.Parallel()
	s, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Invoker: invoker(fakePresence), Authorize: authorize})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	ws := open(t, server, "bob")
	expect(t, ws, `"ka"`)
	closed := make(chan error)
	go func() { closed <- s.Close(t.Context()) }()
	if _, err := read(t, ws); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("socket: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	if status, _, _ := post(t, server, "bob", `{"query":"{__typename}"}`); status != http.StatusServiceUnavailable {
		t.Errorf("status %d after Close", status)
	}
}

// What a signature is over: the request itself, and for sockets the POSTs that
// stand for handshake and start. Header names come in any case.
func TestCredentials(t *testing.T) {
	t.Parallel()
	seen := make(chan wire.Credentials, 1)
	server := newServer(t, appsync.Options{Authorize: func(_ context.Context, c wire.Credentials) (*wire.Identity, error) {
		c.Header = http.Header{"Host": c.Header["Host"], "Authorization": c.Header["Authorization"], "X-Amz-Date": c.Header["X-Amz-Date"]}
		seen <- c
		return &wire.Identity{Sub: "s", Username: "u"}, nil
	}})
	check := func(want wire.Credentials) {
		t.Helper()
		if diff := cmp.Diff(want, <-seen); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	host := strings.TrimPrefix(server.URL, "http://")

	body := `{"query":"{__typename}"}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/graphql?a=%2F", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-amz-date", "D")
	do(t, server, "AWS4-HMAC-SHA256 sig", req)
	check(wire.Credentials{Method: "POST", Path: "/graphql", RawQuery: "a=%2F", Body: []byte(body), Header: http.Header{"Host": {host}, "Authorization": {"AWS4-HMAC-SHA256 sig"}, "X-Amz-Date": {"D"}}})

	signed := `{"host":"h","authorization":"AWS4-HMAC-SHA256 sig","x-Amz-DATE":"D"}`
	ws, _, err := dial(t, server, "raw", "header-"+base64.RawURLEncoding.EncodeToString([]byte(signed)))
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Host": {"h"}, "Authorization": {"AWS4-HMAC-SHA256 sig"}, "X-Amz-Date": {"D"}}
	check(wire.Credentials{Method: "POST", Path: "/graphql/connect", Body: []byte(`{}`), Header: header})

	send(t, ws, `{"type":"connection_init"}`)
	data := `{"query":"subscription { onStatus(userId: 1) { userId } }" }`
	send(t, ws, `{"id":"1","type":"start","payload":{"data":`+encode(t, data)+`,"extensions":{"authorization":`+signed+`}}}`)
	check(wire.Credentials{Method: "POST", Path: "/graphql", Body: []byte(data), Header: header})
}

// Close gives up on a handler that hangs when its context ends, and then cuts
// the sockets.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	begun, free := make(chan struct{}), make(chan struct{})
	s, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Authorize: authorize, Invoker: invoker(func(context.Context, call) (any, error) {
		close(begun)
		<-free
		return nil, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	ws := open(t, server, "bob")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		post(t, server, "bob", `{"query":"{ status(userId: 1) { url } }"}`)
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	for err == nil {
		_, err = read(t, ws)
	}
	close(free)
	<-answered
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}
