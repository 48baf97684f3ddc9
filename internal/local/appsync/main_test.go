package appsync_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/wire"
	"presence/resolvers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is what a resolver's code sends the function.
type call struct {
	Field     string          `json:"field"`
	Arguments json.RawMessage `json:"arguments"`
	Caller    struct {
		Mode string `json:"mode"`
		ID   string `json:"id"`
	} `json:"caller"`
}

// invoker answers like a Lambda function: JSON in, JSON out.
type invoker func(ctx context.Context, c call) (any, error)

func (f invoker) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, err
	}
	answer, err := f(ctx, c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// passThrough is the code of tests with a schema of their own: the function's
// answer is the field's value, and its errors are raised as they are. A
// subscription's answer is its filter, if it is one.
const passThrough = `
import { extensions, util } from '@aws-appsync/utils';
export function request(ctx) {
  return { operation: 'Invoke', payload: { field: ctx.info.parentTypeName + '.' + ctx.info.fieldName, arguments: ctx.args } };
}
export function response(ctx) {
  if (ctx.error) {
    util.error(ctx.error.message, ctx.error.type);
  }
  if (ctx.info.parentTypeName === 'Subscription') {
    if (ctx.result && ctx.result.filterGroup) {
      extensions.setSubscriptionFilter(ctx.result);
    }
    return null;
  }
  return ctx.result;
}`

// data is a function's successful answer.
func data(v any) any { return map[string]any{"data": v} }

// fakePresence answers the fields of schema.graphql without keeping anything.
func fakePresence(_ context.Context, c call) (any, error) {
	var args struct {
		URL, Title *string
		UserID     string
		UserIDs    []string
		Watch      presence.Watch
	}
	if err := json.Unmarshal(c.Arguments, &args); err != nil {
		return nil, err
	}
	at := presence.Time(1_700_000_000_000)
	is := func(id string, status presence.Status) presence.Presence {
		return presence.Presence{UserID: id, Status: status, LastSeen: at, AsOf: at, HeartbeatIntervalMs: 30_000}
	}
	switch c.Field {
	case "Mutation.connect", "Mutation.heartbeat":
		if *args.URL == "error" {
			return map[string]any{"error": map[string]any{"type": "InvalidArgument", "message": "The url is no URL."}}, nil
		}
		p := is(c.Caller.ID, presence.Online)
		p.URL, p.Title, p.ExpiresAt = args.URL, args.Title, at+75_000
		return data(p), nil
	case "Mutation.disconnect":
		return data(is(c.Caller.ID, presence.Offline)), nil
	case "Mutation.connected", "Mutation.disconnected":
		p := is(args.UserID, presence.Offline)
		if c.Field == "Mutation.connected" {
			page, title := "https://example.com/", "Home"
			p = is(args.UserID, presence.Online)
			p.URL, p.Title = &page, &title
		}
		p.Topics = topics(args.UserID)
		return data(p), nil
	case "Query.statuses":
		list := make([]presence.Presence, len(args.UserIDs))
		for i, id := range args.UserIDs {
			list[i] = is(id, presence.Offline)
		}
		return data(list), nil
	case "Subscription.onStatus":
		return data(wire.ContainsAny("topics", topics(args.UserID))), nil
	case "Subscription.onPresence":
		return data(wire.ContainsAny("topics", topics(args.Watch.UserIDs...))), nil
	default:
		return data(is(args.UserID, presence.Offline)), nil
	}
}

func topics(users ...string) []string {
	list := make([]string, len(users))
	for i, user := range users {
		list[i] = "user " + user
	}
	return list
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
		id := &wire.Identity{Sub: token, Username: token}
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
		o.Schema, o.Code = presence.Schema, cmp.Or(o.Code, resolvers.JS)
	}
	o.Code = cmp.Or(o.Code, passThrough)
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
