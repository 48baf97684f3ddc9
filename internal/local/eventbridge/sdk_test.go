package eventbridge_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/announce"
	"presence/internal/auth"
	"presence/internal/local/eventbridge"
	"presence/internal/wire"
)

// authorize checks signatures of the service events, as a server would.
func authorize(r *http.Request, body []byte) error {
	c := wire.Credentials{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header.Clone(), Body: body}
	c.Header.Set("Host", r.Host)
	_, err := auth.Keys{"AK": "secret"}.Verify(c, "events", time.Now())
	return err
}

func newClient(t *testing.T, h http.Handler, secret string) *sdk.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &srv.URL, Retryer: aws.NopRetryer{}, HTTPClient: srv.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AK", SecretAccessKey: secret, SessionToken: "session"}, nil
		}),
	})
}

func entry(change func(*types.PutEventsRequestEntry)) types.PutEventsRequestEntry {
	e := types.PutEventsRequestEntry{
		Source: aws.String("test"), DetailType: aws.String("t"), Detail: aws.String(`{}`), EventBusName: aws.String("default"),
		Time: aws.Time(time.Unix(1767323045, 0)), Resources: []string{"r"},
	}
	if change != nil {
		change(&e)
	}
	return e
}

func TestEntryErrors(t *testing.T) {
	t.Parallel()
	var in inbox
	s := newServer(t, eventbridge.Options{Authorize: authorize, Rules: []eventbridge.Rule{{Bus: "default", Pattern: everything, Target: in.target}}})
	client := newClient(t, s, "secret")
	for name, tt := range map[string]struct {
		change     func(*types.PutEventsRequestEntry)
		code, text string
	}{
		"no-source":        {func(e *types.PutEventsRequestEntry) { e.Source = nil }, "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."},
		"empty-type":       {func(e *types.PutEventsRequestEntry) { e.DetailType = aws.String("") }, "InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument."},
		"no-detail":        {func(e *types.PutEventsRequestEntry) { e.Detail = nil }, "InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument."},
		"long-type":        {func(e *types.PutEventsRequestEntry) { e.DetailType = aws.String(strings.Repeat("é", 129)) }, "InvalidArgument", "Parameter DetailType is not valid. Reason: it must have at most 128 characters."},
		"detail-no-json":   {func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("{") }, "MalformedDetail", "Detail is malformed."},
		"detail-no-object": {func(e *types.PutEventsRequestEntry) { e.Detail = aws.String(" [1]") }, "MalformedDetail", "Detail is malformed."},
		"detail-blank":     {func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("  ") }, "MalformedDetail", "Detail is malformed."},
		"source-of-aws":    {func(e *types.PutEventsRequestEntry) { e.Source = aws.String("aws.ec2") }, "NotAuthorizedForSourceException", "Not authorized for the source."},
		"time-before-1970": {func(e *types.PutEventsRequestEntry) { e.Time = aws.Time(time.Unix(-1, 0)) }, "InvalidArgument", "Parameter Time is not valid. Reason: it must be in the years 1970 to 9999."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The good entries around it are still taken.
			out, err := client.PutEvents(t.Context(), &sdk.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(nil), entry(tt.change), entry(nil)}})
			if err != nil {
				t.Fatal(err)
			}
			if out.FailedEntryCount != 1 || len(out.Entries) != 3 || out.Entries[0].EventId == nil || out.Entries[2].EventId == nil {
				t.Errorf("%+v", out)
			}
			bad := out.Entries[1]
			if aws.ToString(bad.ErrorCode) != tt.code || aws.ToString(bad.ErrorMessage) != tt.text || bad.EventId != nil {
				t.Errorf("%s: %s", aws.ToString(bad.ErrorCode), aws.ToString(bad.ErrorMessage))
			}
		})
	}
}

func TestCallErrors(t *testing.T) {
	t.Parallel()
	many := make([]types.PutEventsRequestEntry, 11)
	for i := range many {
		many[i] = entry(nil)
	}
	large := entry(func(e *types.PutEventsRequestEntry) {
		e.Detail = aws.String(`{"x":"` + strings.Repeat("x", 128<<10) + `"}`)
	})
	for name, tt := range map[string]struct {
		entries []types.PutEventsRequestEntry
		secret  string
		faults  eventbridge.Faults
		code    string
	}{
		"none":        {[]types.PutEventsRequestEntry{}, "secret", eventbridge.Faults{}, "ValidationException"},
		"eleven":      {many, "secret", eventbridge.Faults{}, "ValidationException"},
		"over-256-KB": {[]types.PutEventsRequestEntry{large, large}, "secret", eventbridge.Faults{}, "ValidationException"},
		"signature":   {many[:1], "wrong", eventbridge.Faults{}, "InvalidSignatureException"},
		"throttled":   {many[:1], "secret", eventbridge.Faults{Throttle: 1}, "ThrottlingException"},
		"ten":         {many[:10], "secret", eventbridge.Faults{}, ""},
		"under-limit": {[]types.PutEventsRequestEntry{large, entry(nil)}, "secret", eventbridge.Faults{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, eventbridge.Options{Authorize: authorize})
			s.SetFaults(tt.faults)
			out, err := newClient(t, s, tt.secret).PutEvents(t.Context(), &sdk.PutEventsInput{Entries: tt.entries})
			if tt.code == "" {
				if err != nil || out.FailedEntryCount != 0 || len(out.Entries) != len(tt.entries) {
					t.Errorf("%+v, %v", out, err)
				}
				return
			}
			if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != tt.code || e.ErrorMessage() == "" {
				t.Errorf("got %v, want %s", err, tt.code)
			}
		})
	}
}

// Every change brings about the operation that the stack deploys, signed for
// AppSync.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	type call struct{ Query, User string }
	calls := make(chan call, 10)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, request := readCall(t, r)
		if _, err := (auth.Keys{"AK": "secret"}).Verify(c, "appsync", time.Now()); err != nil {
			t.Error(err)
		}
		calls <- call{request.Query, request.Variables["userId"]}
		_, _ = w.Write([]byte(`{"data":{"connected":null}}`))
	}))
	t.Cleanup(api.Close)
	target := eventbridge.AppSync{
		Endpoint: api.URL + "/graphql", Region: "us-east-1", HTTPClient: api.Client(),
		Credentials: aws.Credentials{AccessKeyID: "AK", SecretAccessKey: "secret"},
	}
	s := newServer(t, eventbridge.Options{Rules: target.Announce("presence")})
	put := func(change presence.Change, userID string) {
		t.Helper()
		out, err := newClient(t, s, "secret").PutEvents(t.Context(), &sdk.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(func(r *types.PutEventsRequestEntry) {
			r.Source, r.DetailType, r.EventBusName = aws.String(presence.EventSource), aws.String(change.DetailType()), aws.String("presence")
			r.Detail = aws.String(`{"userId":"` + userID + `"}`)
		})}})
		if err != nil || out.FailedEntryCount != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	connected, disconnected := announce.Rules()[0].Operation(), announce.Rules()[1].Operation()
	for _, test := range []struct {
		change presence.Change
		want   call
	}{
		{presence.Connected, call{connected, "back"}},
		{presence.Changed, call{connected, "moved"}},
		{presence.Disconnected, call{disconnected, "gone"}},
	} {
		put(test.change, test.want.User)
		if diff := cmp.Diff(test.want, <-calls); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	put("renamed", "stranger")
	drain(t, s)
	if len(calls) != 0 {
		t.Errorf("%d more calls", len(calls))
	}
}
