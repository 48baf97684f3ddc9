// Package client is a client of the presence API, be it the local server or
// deployed on AppSync: GraphQL over HTTP, and subscriptions over AppSync's
// real-time protocol.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"presence"
	"presence/internal/wire"
)

// Options are what a [Client] is made from.
type Options struct {
	// Endpoint is the API's GraphQL URL.
	Endpoint string
	// Authorize is one of [Token] and [IAM].
	Authorize Authorize
	// HTTPClient also dials the WebSocket. Nil means http.DefaultClient.
	HTTPClient *http.Client
}

// Client calls one presence API. It is safe for concurrent use. Every error it
// returns is a [presence.Error]; a context that ended is its cause.
type Client struct {
	endpoint  *url.URL
	authorize Authorize
	http      *http.Client
}

// New returns a client.
func New(opts Options) (*Client, error) {
	u, err := url.Parse(opts.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, presence.Errorf(presence.InvalidArgument, "The endpoint %q is not an http or https URL.", opts.Endpoint)
	}
	if opts.HTTPClient == nil {
		opts.HTTPClient = http.DefaultClient
	}
	return &Client{endpoint: u, authorize: opts.Authorize, http: opts.HTTPClient}, nil
}

// awsEndpoint is the pattern by which AWS's own clients tell an AppSync domain
// from a custom one.
var awsEndpoint = regexp.MustCompile(`^https://\w{26}\.appsync-api\.(\w{2}(?:-\w{2,})+-\d)\.amazonaws\.com(?:\.cn)?/graphql$`)

// Region returns the AWS region in an AppSync endpoint's name, or "" if the
// endpoint is not on an AWS domain.
func Region(endpoint string) string {
	if m := awsEndpoint.FindStringSubmatch(endpoint); m != nil {
		return m[1]
	}
	return ""
}

// RealtimeURL returns the WebSocket URL that belongs to a GraphQL endpoint: a
// host of its own on an AWS domain, a path of its own anywhere else. See
// "Building a real-time WebSocket client" in the AppSync developer guide.
func RealtimeURL(endpoint string) string {
	u := "ws" + strings.TrimPrefix(endpoint, "http")
	if Region(endpoint) != "" {
		return strings.Replace(u, ".appsync-api.", ".appsync-realtime-api.", 1)
	}
	return u + "/realtime"
}

// callTimeout is AppSync's own limit for a request.
const callTimeout = 30 * time.Second

// fields selects a whole Presence.
var fields = "{ " + strings.Join(presence.Fields(), " ") + " }"

// Connect tells that the caller opened page.
func (c *Client) Connect(ctx context.Context, sessionID string, page presence.Page) (presence.Presence, error) {
	return call[presence.Presence](ctx, c,
		"mutation Connect($url: String!, $title: String!, $sessionId: ID) { answer: connect(url: $url, title: $title, sessionId: $sessionId) "+fields+" }",
		pageVariables(sessionID, page))
}

// Heartbeat tells that the caller is still on page.
func (c *Client) Heartbeat(ctx context.Context, sessionID string, page presence.Page) (presence.Presence, error) {
	return call[presence.Presence](ctx, c,
		"mutation Heartbeat($url: String!, $title: String!, $sessionId: ID) { answer: heartbeat(url: $url, title: $title, sessionId: $sessionId) "+fields+" }",
		pageVariables(sessionID, page))
}

func pageVariables(sessionID string, page presence.Page) map[string]any {
	return map[string]any{"url": page.URL, "title": page.Title, "sessionId": orNull(sessionID)}
}

func orNull(id string) any {
	if id == "" {
		return nil
	}
	return id
}

// Disconnect ends a session of the caller.
func (c *Client) Disconnect(ctx context.Context, sessionID string, grace time.Duration) (presence.Presence, error) {
	return call[presence.Presence](ctx, c,
		"mutation Disconnect($sessionId: ID, $graceMs: Int) { answer: disconnect(sessionId: $sessionId, graceMs: $graceMs) "+fields+" }",
		map[string]any{"sessionId": orNull(sessionID), "graceMs": grace.Milliseconds()})
}

// maxAsked is how many users the API answers in one query.
const maxAsked = 100

// Status returns the presence of users, in the order asked. It sends a query for
// every 100 of them.
func (c *Client) Status(ctx context.Context, userIDs ...string) ([]presence.Presence, error) {
	var all []presence.Presence
	for some := range slices.Chunk(userIDs, maxAsked) {
		ps, err := call[[]presence.Presence](ctx, c,
			"query Statuses($userIds: [ID!]!) { answer: statuses(userIds: $userIds) "+fields+" }",
			map[string]any{"userIds": some})
		if err != nil {
			return nil, err
		}
		all = append(all, ps...)
	}
	return all, nil
}

// call runs a GraphQL document that has one field, with the alias answer.
func call[T any](ctx context.Context, c *Client, document string, variables map[string]any) (T, error) {
	var response struct {
		Data   struct{ Answer T }
		Errors []wire.Error
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := c.post(ctx, map[string]any{"query": document, "variables": variables}, &response)
	if len(response.Errors) > 0 {
		// Also in a response that was refused as a whole: this says why.
		err = errorOf(response.Errors[0])
	}
	return response.Data.Answer, err
}

func (c *Client) post(ctx context.Context, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if err := c.authorize(r, body); err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return unreachable(c.endpoint.String(), err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return unreachable(c.endpoint.String(), err)
	}
	if err := json.Unmarshal(body, response); err != nil || resp.StatusCode != http.StatusOK {
		return statusError(c.endpoint.String(), resp.StatusCode, err)
	}
	return nil
}

// unreachable says that there was no answer from target, and why.
func unreachable(target string, err error) error {
	// Inside is the reason; around it, what net/http was doing and the URL again.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &presence.Error{Code: presence.Unavailable, Message: "There is no answer from " + target, Err: err}
}

// statusError is for an answer that is no GraphQL response.
func statusError(url string, status int, cause error) error {
	code := presence.Unavailable
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		code = presence.Unauthorized
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
		code = presence.InvalidArgument
	}
	return &presence.Error{Code: code, Message: fmt.Sprintf("%s answered %d %s, which is no answer of a GraphQL endpoint", url, status, http.StatusText(status)), Err: cause}
}

// errorOf gives AppSync's own error types our codes. The handler's error types
// are our codes already.
func errorOf(e wire.Error) error {
	code := presence.Internal
	switch typ := e.ErrorType; {
	case typ == string(presence.InvalidArgument), typ == string(presence.Unauthorized), typ == string(presence.Unavailable), typ == string(presence.Internal):
		code = presence.Code(typ)
	case strings.Contains(typ, "Unauthorized"), e.ErrorCode == http.StatusUnauthorized, e.ErrorCode == http.StatusForbidden:
		code = presence.Unauthorized
	case typ == "", typ == "MalformedHttpRequestException", strings.Contains(typ, "BadRequest"), strings.Contains(typ, "MaxSubscriptionsReached"), e.ErrorCode == http.StatusBadRequest:
		// Validation errors have no type.
		code = presence.InvalidArgument
	case strings.HasPrefix(typ, "Lambda:"), strings.Contains(typ, "LimitExceeded"), strings.Contains(typ, "Throttl"):
		code = presence.Unavailable
	}
	if e.Message == "" {
		e.Message = "The API answered " + e.ErrorType + "."
	}
	return &presence.Error{Code: code, Message: e.Message}
}
