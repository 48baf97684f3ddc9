package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRealtimeURL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ endpoint, want, region string }{
		"aws": {
			"https://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-west-1.amazonaws.com/graphql",
			"wss://abcdefghijklmnopqrstuvwxyz.appsync-realtime-api.eu-west-1.amazonaws.com/graphql", "eu-west-1",
		},
		"aws-gov": {
			"https://abcdefghijklmnopqrstuvwxyz.appsync-api.us-gov-west-1.amazonaws.com/graphql",
			"wss://abcdefghijklmnopqrstuvwxyz.appsync-realtime-api.us-gov-west-1.amazonaws.com/graphql", "us-gov-west-1",
		},
		"aws-china": {
			"https://abcdefghijklmnopqrstuvwxyz.appsync-api.cn-north-1.amazonaws.com.cn/graphql",
			"wss://abcdefghijklmnopqrstuvwxyz.appsync-realtime-api.cn-north-1.amazonaws.com.cn/graphql", "cn-north-1",
		},
		"custom-domain": {"https://api.example.com/graphql", "wss://api.example.com/graphql/realtime", ""},
		"local":         {"http://localhost:4000/graphql", "ws://localhost:4000/graphql/realtime", ""},
		"looks-like-aws": {
			"https://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-west-1.amazonaws.com.example.com/graphql",
			"wss://abcdefghijklmnopqrstuvwxyz.appsync-api.eu-west-1.amazonaws.com.example.com/graphql/realtime", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := client.RealtimeURL(tc.endpoint); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if got := client.Region(tc.endpoint); got != tc.region {
				t.Errorf("region %q, want %q", got, tc.region)
			}
		})
	}
}

func TestNewRefusesEndpoint(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"", "localhost:4000", "ws://localhost/graphql", "http://", "%"} {
		if _, err := client.New(client.Options{Endpoint: endpoint}); code(err) != presence.InvalidArgument {
			t.Errorf("%q: got %v, want InvalidArgument", endpoint, err)
		}
	}
}

// What is sent is what the schema asks for.
func TestCalls(t *testing.T) {
	t.Parallel()
	type request struct {
		Query     string
		Variables map[string]any
	}
	var got request
	answer := `{"data":{"answer":{"userId":"alice","status":"offline"}}}`
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth := r.Header.Get("Authorization"); auth != "secret" {
			t.Errorf("Authorization %q", auth)
		}
		got = request{}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		io.WriteString(w, answer)
	}))

	p, err := c.Disconnect(t.Context(), "", 0)
	if err != nil || p.Status != presence.Offline {
		t.Errorf("got %v, %v", p, err)
	}
	if diff := cmp.Diff(map[string]any{"sessionId": nil, "graceMs": 0.0}, got.Variables); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	answer = `{"data":{"answer":{"userId":"alice","status":"online","asOf":"2026-01-02T03:04:05.006Z","heartbeatIntervalMs":1000}}}`
	connected, err := c.Connect(t.Context(), "tab", presence.Page{URL: "https://a.example/", Title: "A"})
	if err != nil || connected.UserID != "alice" || connected.Status != presence.Online || connected.AsOf.String() != "2026-01-02T03:04:05.006Z" {
		t.Errorf("got %+v, %v", connected, err)
	}
	if diff := cmp.Diff(map[string]any{"url": "https://a.example/", "title": "A", "sessionId": "tab"}, got.Variables); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status  int
		body    string
		code    presence.Code
		message string
	}{
		"handler-error":     {200, `{"data":null,"errors":[{"errorType":"InvalidArgument","message":"No."}]}`, presence.InvalidArgument, "No."},
		"handler-away":      {200, `{"data":null,"errors":[{"errorType":"Unavailable","message":"Later."}]}`, presence.Unavailable, "Later."},
		"unauthorized":      {401, `{"errors":[{"errorType":"UnauthorizedException","message":"You are not authorized."}]}`, presence.Unauthorized, "You are not authorized."},
		"validation":        {200, `{"data":null,"errors":[{"message":"Validation error of type FieldUndefined"}]}`, presence.InvalidArgument, "Validation error of type FieldUndefined"},
		"lambda-timed-out":  {200, `{"data":null,"errors":[{"errorType":"Lambda:ExecutionTimeoutException","message":"Execution timed out."}]}`, presence.Unavailable, "Execution timed out."},
		"no-message":        {200, `{"errors":[{"errorType":"Odd"}]}`, presence.Internal, "The API answered Odd."},
		"not-an-endpoint":   {404, "404 page not found", presence.InvalidArgument, "answered 404 Not Found"},
		"a-proxy-in-front":  {502, "<html>", presence.Unavailable, "answered 502 Bad Gateway"},
		"throttled":         {429, "", presence.Unavailable, "answered 429"},
		"a-page-with-a-200": {200, "<html>", presence.Unavailable, "no answer of a GraphQL endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			}))
			_, err := c.Status(t.Context(), "alice")
			if code(err) != tc.code || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("got %s %v, want %s with %q", code(err), err, tc.code, tc.message)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c, err := client.New(client.Options{Endpoint: "http://" + l.Addr().String() + "/graphql", Authorize: client.Token("secret")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context(), "alice")
	if code(err) != presence.Unavailable || strings.Count(err.Error(), l.Addr().String()) != 2 {
		t.Errorf("got %v", err)
	}
	if err := c.Subscribe(t.Context(), []string{"alice"}, client.Subscriber{}); code(err) != presence.Unavailable {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled inside", err)
	}
}

// newClient returns a client of a server on loopback.
func newClient(t *testing.T, h http.Handler) *client.Client {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Endpoint: s.URL + "/graphql", Authorize: client.Token("secret"), HTTPClient: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func code(err error) presence.Code {
	if err == nil {
		return ""
	}
	return presence.AsError(err).Code
}
