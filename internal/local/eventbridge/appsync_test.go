package eventbridge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"presence/internal/local/eventbridge"
	"presence/internal/wire"
)

type graphQL struct {
	Query     string
	Variables map[string]string
}

// readCall returns what a server sees of a GraphQL call.
func readCall(t testing.TB, r *http.Request) (wire.Credentials, graphQL) {
	t.Helper()
	c := wire.Credentials{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header.Clone()}
	c.Header.Set("Host", r.Host)
	var request graphQL
	var err error
	if c.Body, err = io.ReadAll(r.Body); err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal(c.Body, &request); err != nil {
		t.Error(err)
	}
	return c, request
}

// What AppSync answers decides whether the target is called again.
func TestAppSyncTarget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status           int
		body             string
		input            string
		again, permanent bool
		log              string
	}{
		"data":         {200, `{"data":{"connected":{"userId":"a"}}}`, `{}`, false, false, ""},
		"graphql":      {200, `{"data":null,"errors":[{"message":"Not Authorized","errorType":"Unauthorized"}]}`, `{}`, false, false, "errorType=Unauthorized"},
		"no-json":      {200, `<html>`, `{}`, false, false, "no JSON"},
		"unauthorized": {401, `{}`, `{}`, false, true, ""},
		"forbidden":    {403, `{}`, `{}`, false, true, ""},
		"not-found":    {404, ``, `{}`, false, true, ""},
		"throttled":    {429, ``, `{}`, true, false, ""},
		"internal":     {500, ``, `{}`, true, false, ""},
		"unavailable":  {503, ``, `{}`, true, false, ""},
		"cut-off":      {200, "cut", `{}`, true, false, ""},
		"bad-input":    {200, `{}`, `{"a":}`, false, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.body == "cut" {
					w.Header().Set("Content-Length", "100")
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer api.Close()
			var log bytes.Buffer
			target := eventbridge.AppSync{
				Endpoint: api.URL, Region: "us-east-1", HTTPClient: api.Client(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Credentials: aws.Credentials{AccessKeyID: "AK", SecretAccessKey: "secret"},
			}.Target("mutation { x }")
			err := target(t.Context(), []byte(tt.input))
			permanent := errors.As(err, new(eventbridge.Permanent))
			if again := err != nil && !permanent; again != tt.again || permanent != tt.permanent {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(log.String(), tt.log) || tt.log == "" && log.Len() > 0 {
				t.Errorf("log %q", log.String())
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		api := httptest.NewServer(nil)
		api.Close()
		err := eventbridge.AppSync{Endpoint: api.URL, Credentials: aws.Credentials{AccessKeyID: "AK", SecretAccessKey: "s"}}.Target("{x}")(t.Context(), []byte(`{}`))
		if err == nil || errors.As(err, new(eventbridge.Permanent)) {
			t.Errorf("got %v", err)
		}
	})
}
