package appsync_test

import (
	"context"
	"encoding/base64"
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

	"presence/internal/local/appsync"
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
