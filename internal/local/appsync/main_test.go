package appsync_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// invoker answers like a Lambda function: JSON in, JSON out.
type invoker func(ctx context.Context, e wire.Event) (any, error)

func (f invoker) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e wire.Event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, err
	}
	answer, err := f(ctx, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// fakePresence answers the fields of schema.graphql without keeping anything.
func fakePresence(_ context.Context, e wire.Event) (any, error) {
	var args struct {
		URL, Title *string
		UserID     string
		UserIDs    []string
	}
	if err := json.Unmarshal(e.Arguments, &args); err != nil {
		return nil, err
	}
	at := presence.Time(1_700_000_000_000)
	is := func(id string, status presence.Status) presence.Presence {
		return presence.Presence{UserID: id, Status: status, LastSeen: at, AsOf: at, HeartbeatIntervalMs: 30_000}
	}
	switch e.Info.FieldName {
	case "connect", "heartbeat":
		if *args.URL == "error" {
			return nil, messages.InvokeResponse_Error{Type: "InvalidArgument", Message: "The url is no URL."}
		}
		p := is(e.Identity.Username, presence.Online)
		p.URL, p.Title, p.ExpiresAt = args.URL, args.Title, at+75_000
		return p, nil
	case "disconnect":
		return nil, nil
	case "connected":
		return is(args.UserID, presence.Online), nil
	case "statuses":
		list := make([]presence.Presence, len(args.UserIDs))
		for i, id := range args.UserIDs {
			list[i] = is(id, presence.Offline)
		}
		return list, nil
	default:
		return is(args.UserID, presence.Offline), nil
	}
}

// authorize takes the name of a caller for a token.
func authorize(_ context.Context, c wire.Credentials) (*wire.Identity, error) {
	switch token := strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer "); token {
	case "":
		if c.Header.Get("X-Api-Key") == "" {
			return nil, &presence.Error{Code: presence.Unauthorized}
		}
		return nil, nil
	case "nobody":
		return nil, presence.Errorf(presence.Unauthorized, "Unable to parse JWT token.")
	case "away":
		return nil, presence.Errorf(presence.Unavailable, "The key set is out of reach.")
	case "panic":
		panic("secret")
	case "key":
		return nil, nil
	case "iam":
		return &wire.Identity{UserARN: "arn:aws:iam::123456789012:user/x", AccountID: "123456789012", Username: "AIDA"}, nil
	case "oidc":
		return &wire.Identity{Sub: "o", Issuer: "https://issuer"}, nil
	case "lambda":
		return &wire.Identity{ResolverContext: map[string]string{}}, nil
	default:
		id := &wire.Identity{Sub: "sub-" + token, Username: token}
		if token == "admin" {
			id.Groups = []string{"admins"}
		}
		return id, nil
	}
}

// newServer fills in what o leaves out and serves it. The server ends with the
// test, and must do so at once.
func newServer(tb testing.TB, o appsync.Options) *httptest.Server {
	tb.Helper()
	if o.Schema == "" {
		o.Schema = presence.Schema
	}
	if o.Invoker == nil {
		o.Invoker = invoker(fakePresence)
	}
	if o.Authorize == nil {
		o.Authorize = authorize
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := appsync.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(s)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			tb.Errorf("close: %v", err)
		}
		server.Client().CloseIdleConnections()
		server.Close()
	})
	return server
}

// post sends a body as a caller and returns status, headers and body.
func post(tb testing.TB, server *httptest.Server, who, body string) (int, http.Header, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, server.URL+appsync.Path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	return do(tb, server, who, req)
}

func do(tb testing.TB, server *httptest.Server, who string, req *http.Request) (int, http.Header, string) {
	tb.Helper()
	if who != "" {
		req.Header.Set("Authorization", who)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// query sends a document as a caller and returns the body of its answer.
func query(tb testing.TB, server *httptest.Server, who, document string, variables map[string]any) string {
	tb.Helper()
	status, _, text := post(tb, server, who, encode(tb, map[string]any{"query": document, "variables": variables}))
	if status != http.StatusOK {
		tb.Fatalf("%s: status %d: %s", document, status, text)
	}
	return text
}

func encode(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// canonical sorts the members of JSON, so that it can be compared as text.
func canonical(tb testing.TB, text string) string {
	tb.Helper()
	var v any
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		tb.Fatalf("%v in %s", err, text)
	}
	return encode(tb, v)
}
