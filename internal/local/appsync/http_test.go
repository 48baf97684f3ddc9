package appsync_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/local/appsync"
)

// Statuses and bodies are those of AppSync, where they are known: see
// docs/local-appsync.md.
func TestHTTP(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	validation := func(path string, column int, message string) string {
		if path != "" {
			message += " @ '" + path + "'"
		}
		return fmt.Sprintf(`{"data":null,"errors":[{"path":null,"locations":[{"line":1,"column":%d,"sourceName":null}],"message":%q}]}`, column, message)
	}
	request := func(query string) string { return encode(t, map[string]string{"query": query}) }
	deep := strings.Repeat("{a", 80) + strings.Repeat("}", 80)

	for name, c := range map[string]struct {
		who, body string
		status    int
		errorType string
		want      string
	}{
		"answer":            {who: "bob", body: request(`{ status(userId: "a") { userId status url } }`), want: `{"data":{"status":{"userId":"a","status":"offline","url":null}}}`},
		"bearer":            {who: "Bearer bob", body: request(`{ status(userId: "a") { userId } }`), want: `{"data":{"status":{"userId":"a"}}}`},
		"null-variables":    {who: "bob", body: `{"query":"{ status(userId: 5) { userId } }","variables":null,"operationName":null,"extensions":{"a":1}}`, want: `{"data":{"status":{"userId":"5"}}}`},
		"alias-typename":    {who: "bob", body: request(`{ __typename me: status(userId: "a") { t: __typename ...F ... on Presence { userId } } } fragment F on Presence { s: status }`), want: `{"data":{"__typename":"Query","me":{"t":"Presence","s":"offline","userId":"a"}}}`},
		"list":              {who: "bob", body: request(`{ statuses(userIds: ["a", "b"]) { userId } }`), want: `{"data":{"statuses":[{"userId":"a"},{"userId":"b"}]}}`},
		"skip":              {who: "bob", body: request(`{ status(userId: "a") { userId status @skip(if: true) url @include(if: false) } }`), want: `{"data":{"status":{"userId":"a"}}}`},
		"type":              {who: "key", body: request(`{ __type(name: "Status") { kind name enumValues { name } fields { name } ofType { name } } }`), want: `{"data":{"__type":{"kind":"ENUM","name":"Status","enumValues":[{"name":"online"},{"name":"offline"}],"fields":[],"ofType":null}}}`},
		"no-such-type":      {who: "bob", body: request(`{ __type(name: "Nope") { name } }`), want: `{"data":{"__type":null}}`},
		"empty-body":        {who: "bob", body: "", status: 400, errorType: "MalformedHttpRequestException", want: `{"errors":[{"message":"Request body is empty.","errorType":"MalformedHttpRequestException"}]}`},
		"no-json":           {who: "bob", body: "meow", status: 400, errorType: "MalformedHttpRequestException"},
		"empty-object":      {who: "bob", body: "{}", status: 400, errorType: "MalformedHttpRequestException", want: `{"errors":[{"message":"Unable to parse GraphQL query.","errorType":"MalformedHttpRequestException","errorInfo":"The request has no query."}]}`},
		"batch":             {who: "bob", body: "[" + request("{ __typename }") + "]", status: 400, errorType: "MalformedHttpRequestException"},
		"variables-a-list":  {who: "bob", body: `{"query":"{ __typename }","variables":[1]}`, status: 400, errorType: "MalformedHttpRequestException"},
		"syntax":            {who: "bob", body: request("{ status("), status: 400, errorType: "MalformedHttpRequestException"},
		"no-operation":      {who: "bob", body: request("fragment F on Presence { userId }"), status: 400, errorType: "MalformedHttpRequestException"},
		"too-many-tokens":   {who: "bob", body: request("{" + strings.Repeat("a ", 16_000) + "}"), status: 400, errorType: "MalformedHttpRequestException"},
		"too-large":         {who: "bob", body: strings.Repeat(" ", 1<<20+1), status: 413, errorType: "RequestEntityTooLargeException"},
		"no-authorization":  {body: "meow", status: 401, errorType: "UnauthorizedException", want: `{"errors":[{"message":"You are not authorized to make this call.","errorType":"UnauthorizedException"}]}`},
		"bad-authorization": {who: "nobody", body: request("{ __typename }"), status: 401, errorType: "UnauthorizedException", want: `{"errors":[{"message":"Unable to parse JWT token.","errorType":"UnauthorizedException"}]}`},
		"authorizer-away":   {who: "away", body: request("{ __typename }"), status: 503, errorType: "ServiceUnavailableException"},
		"authorizer-panics": {who: "panic", body: request("{ __typename }"), status: 500, errorType: "InternalFailure", want: `{"errors":[{"message":"An internal error occurred.","errorType":"InternalFailure"}]}`},
		"unknown-field":     {who: "bob", body: request("{badfield}"), want: validation("badfield", 2, "Validation error of type FieldUndefined: Field 'badfield' in type 'Query' is undefined")},
		"unknown-argument":  {who: "bob", body: request(`{ status(userId: "a", x: 1) { userId } }`), want: validation("status", 3, "Validation error of type UnknownArgument: Unknown field argument x")},
		"missing-argument":  {who: "bob", body: request(`{ status { userId } }`), want: validation("status", 3, "Validation error of type MissingFieldArgument: Missing field argument userId")},
		"no-selection":      {who: "bob", body: request(`{ status(userId: "a") }`), want: validation("status", 3, "Validation error of type SubSelectionRequired: Sub selection required for type Presence of field status")},
		"leaf-selection":    {who: "bob", body: request(`{ status(userId: "a") { url { x } } }`), status: 200},
		"unknown-directive": {who: "bob", body: request(`{ status(userId: "a") { userId @defer } }`), want: validation("status/userId", 33, "Validation error of type UnknownDirective: Unknown directive defer")},
		"wrong-type":        {who: "bob", body: request(`{ status(userId: true) { userId } }`), want: validation("status", 18, "Validation error of type WrongType: ID cannot represent a non-string and non-integer value: true")},
		"id-beyond-int":     {who: "bob", body: request(`{ status(userId: 99999999999999999999) { userId } }`), status: 200},
		"missing-variable":  {who: "bob", body: request(`query($u: ID!) { status(userId: $u) { userId } }`), want: validation("", 7, "Variable 'u' has coerced Null value for NonNull type 'ID!'")},
		"wrong-variable":    {who: "bob", body: `{"query":"query($u: ID!) { status(userId: $u) { userId } }","variables":{"u":{"a":1}}}`, want: validation("", 7, "Variable 'u' has an invalid value. Unable to parse `{\"a\":1}` as a valid ID.")},
		"null-condition":    {who: "bob", body: `{"query":"query($b: Boolean = true) { status(userId: 1) { userId @include(if: $b) } }","variables":{"b":null}}`, want: validation("", 57, "Variable 'b' has coerced Null value for NonNull type 'Boolean!'")},
		"two-operations":    {who: "bob", body: request(`query A { __typename } query B { __typename }`), want: `{"data":null,"errors":[{"path":null,"locations":null,"message":"Must provide operation name if query contains multiple operations."}]}`},
		"one-of-two":        {who: "bob", body: `{"query":"query A { a: __typename } query B { b: __typename }","operationName":"B"}`, want: `{"data":{"b":"Query"}}`},
		"no-such-operation": {who: "bob", body: `{"query":"query A { __typename }","operationName":"B"}`, want: `{"data":null,"errors":[{"path":null,"locations":null,"message":"Unknown operation named 'B'."}]}`},
		"too-deep":          {who: "bob", body: request(deep), want: `{"data":null,"errors":[{"path":null,"locations":null,"message":"The query is nested deeper than 75 levels.","data":null,"errorType":"QueryDepthLimitReached","errorInfo":null}]}`},
		"subscription":      {who: "bob", body: request(`subscription { onStatus(userId: 1) { userId } }`), status: 400, errorType: "BadRequestException", want: `{"errors":[{"message":"Subscriptions over MQTT is not supported.","errorType":"BadRequestException"}]}`},
		"denied":            {who: "bob", body: request("mutation {\n        connected(userId: 1) { userId } }"), want: `{"data":{"connected":null},"errors":[{"path":["connected"],"data":null,"errorType":"Unauthorized","errorInfo":null,"locations":[{"line":2,"column":9,"sourceName":null}],"message":"Not Authorized to access connected on type Mutation"}]}`},
		"resolver-error":    {who: "bob", body: request(`mutation { connect(url: "error", title: "") { userId } }`), want: `{"data":{"connect":null},"errors":[{"path":["connect"],"data":null,"errorType":"InvalidArgument","errorInfo":null,"locations":[{"line":1,"column":12,"sourceName":null}],"message":"The url is no URL."}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, header, got := post(t, server, c.who, c.body)
			if c.status == 0 {
				c.status = http.StatusOK
			}
			if status != c.status || header.Get("x-amzn-errortype") != c.errorType {
				t.Errorf("status %d, x-amzn-errortype %q, want %d, %q: %s", status, header.Get("x-amzn-errortype"), c.status, c.errorType, got)
			}
			if c.want != "" {
				if diff := cmp.Diff(canonical(t, c.want), canonical(t, got)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			if got := header.Get("Content-Type"); got != "application/json; charset=UTF-8" {
				t.Errorf("content type %q", got)
			}
			if header.Get("Access-Control-Allow-Origin") != "*" || header.Get("x-amzn-requestid") == "" || header.Get("x-amzn-appsync-tokensconsumed") == "" {
				t.Errorf("headers missing: %v", header)
			}
		})
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, c := range map[string]struct {
		query  url.Values
		status int
		want   string
	}{
		"query":         {url.Values{"query": {`query Q($u: ID!) { status(userId: $u) { userId } }`}, "variables": {`{"u":"a"}`}, "operationName": {"Q"}}, 200, `{"data":{"status":{"userId":"a"}}}`},
		"mutation":      {url.Values{"query": {`mutation { connect(url: "u", title: "t") { title } }`}}, 200, `{"data":{"connect":{"title":"t"}}}`},
		"no-query":      {nil, 400, `{"errors":[{"message":"Unable to parse GraphQL query.","errorType":"MalformedHttpRequestException","errorInfo":"The request has no query parameter."}]}`},
		"bad-variables": {url.Values{"query": {`{ __typename }`}, "variables": {"{} {}"}}, 400, `{"errors":[{"message":"Unable to parse GraphQL query.","errorType":"MalformedHttpRequestException","errorInfo":"The variables are not a JSON object."}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+appsync.Path+"?"+c.query.Encode(), nil)
			if err != nil {
				t.Fatal(err)
			}
			status, _, got := do(t, server, "bob", req)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if diff := cmp.Diff(canonical(t, c.want), canonical(t, got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOtherRequests(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, c := range map[string]struct {
		method, path string
		header       http.Header
		status       int
	}{
		"wrong-method":        {http.MethodPut, "/graphql", nil, 405},
		"wrong-path":          {http.MethodPost, "/", nil, 404},
		"no-upgrade":          {http.MethodGet, "/graphql/realtime", nil, 426},
		"no-subprotocol":      {http.MethodGet, "/graphql/realtime", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, 401},
		"socket-without-auth": {http.MethodGet, "/graphql/realtime", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"graphql-ws"}}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range c.header {
				req.Header[name] = values
			}
			status, header, body := do(t, server, "", req)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if header.Get("x-amzn-errortype") == "" || !json.Valid([]byte(body)) {
				t.Errorf("not an AppSync error: %v %s", header, body)
			}
		})
	}
	t.Run("preflight", func(t *testing.T) {
		t.Parallel()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, server.URL+"/graphql", nil)
		if err != nil {
			t.Fatal(err)
		}
		status, header, _ := do(t, server, "", req)
		if status != http.StatusOK || header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "authorization") {
			t.Errorf("status %d, headers %v", status, header)
		}
	})
}

// The function gets just what the code sends, and the code sees the call.
func TestCall(t *testing.T) {
	t.Parallel()
	payloads := make(chan string, 1)
	server := newServer(t, appsync.Options{
		Env: map[string]string{"TABLE": "t"},
		Code: `
			export function request(ctx) {
				const { info, identity, request, env } = ctx;
				return { operation: 'Invoke', payload: {
					arguments: ctx.args, info, list: info.selectionSetList, graphQL: info.selectionSetGraphQL, env,
					who: identity.username, ip: identity.sourceIp, cookie: request.headers.cookie, custom: request.headers['x-custom'],
					authorization: request.headers.authorization, forwarded: request.headers['x-forwarded-for'],
				} };
			}
			export function response(ctx) { return ctx.result; }`,
		Invoker: raw(func(payload string) string {
			payloads <- payload
			return "null"
		}),
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+appsync.Path, strings.NewReader(encode(t, map[string]any{
		"query":     `mutation M($s: ID, $title: String!) { c: connect(url: "u", title: $title, sessionId: $s) { id: userId ...F __typename } } fragment F on Presence { status }`,
		"variables": map[string]any{"s": nil, "title": "T"},
	})))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "a=b")
	req.Header.Set("X-Custom", "1")
	do(t, server, "bob", req)
	// A null argument is there, one left out is not.
	want := `{"arguments":{"sessionId":null,"title":"T","url":"u"},"info":{"fieldName":"connect","parentTypeName":"Mutation","variables":{"s":null,"title":"T"}},` +
		`"list":["id","status","__typename"],"graphQL":"{\n  id: userId\n  ... F\n  __typename\n}","env":{"TABLE":"t"},` +
		`"who":"bob","ip":["127.0.0.1"],"custom":"1","authorization":"bob","forwarded":"127.0.0.1"}`
	if diff := cmp.Diff(want, <-payloads); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// raw is a function of JSON text.
type raw func(payload string) string

func (f raw) Invoke(_ context.Context, payload []byte) ([]byte, error) {
	return []byte(f(string(payload))), nil
}

// Broken UTF-16 in a variable or a literal costs a character, never the call.
func TestBrokenText(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	for name, body := range map[string]string{
		"variable":      `{"query":"mutation($t: String!) { connect(url: \"u\", title: $t) { title } }","variables":{"t":"Cats \ud83d"}}`,
		"lone-trail":    `{"query":"mutation($t: String!) { connect(url: \"u\", title: $t) { title } }","variables":{"t":"Cats \ude00"}}`,
		"literal":       `{"query":"mutation { connect(url: \"u\", title: \"Cats \\ud83d\") { title } }"}`,
		"not-utf-8":     "{\"query\":\"mutation($t: String!) { connect(url: \\\"u\\\", title: $t) { title } }\",\"variables\":{\"t\":\"Cats \xff\"}}",
		"key-with-name": `{"query":"mutation($t: String!) { connect(url: \"u\", title: $t) { title } }","variables":{"t":"Cats \ud83d","\ud83d":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, got := post(t, server, "bob", body); got != `{"data":{"connect":{"title":"Cats \ufffd"}}}` && got != `{"data":{"connect":{"title":"Cats �"}}}` {
				t.Error(got)
			}
		})
	}
}

// What the code raises, appends and does wrong, as clients see it.
func TestResolverErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ response, want string }{
		"raised":   {`util.error('m', 'T', { a: 1 }, { b: 2 });`, `{"data":{"a":null},"errors":[{"path":["a"],"data":{"a":1},"errorType":"T","errorInfo":{"b":2},"locations":[{"line":1,"column":2,"sourceName":null}],"message":"m"}]}`},
		"appended": {`util.appendError('m', 'T'); return 'x';`, `{"data":{"a":"x"},"errors":[{"path":["a"],"data":null,"errorType":"T","errorInfo":null,"locations":[{"line":1,"column":2,"sourceName":null}],"message":"m"}]}`},
		"denied":   {`util.unauthorized();`, `{"data":{"a":null},"errors":[{"path":["a"],"data":null,"errorType":"Unauthorized","errorInfo":null,"locations":[{"line":1,"column":2,"sourceName":null}],"message":"Not Authorized to access a on type Query"}]}`},
		"defect":   {`return ctx.a.b;`, `{"data":{"a":null},"errors":[{"path":["a"],"data":null,"errorType":"Code","errorInfo":"TypeError: Cannot read property 'b' of undefined at response (resolver.js:3:46(3))","locations":[{"line":1,"column":2,"sourceName":null}],"message":"Runtime Error"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{
				Schema: `type Query { a: String }`,
				Code: `import { util } from '@aws-appsync/utils';
export function request(ctx) { return { operation: 'Invoke', payload: null }; }
export function response(ctx) { ` + c.response + ` }`,
				Invoker: raw(func(string) string { return "null" }),
			})
			if diff := cmp.Diff(canonical(t, c.want), canonical(t, query(t, server, "bob", "{a}", nil))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

type customError struct{}

func (*customError) Error() string { return "custom" }

// What goes wrong in the function is what the code sees as ctx.error.
func TestInvokerErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err                error
		panics             bool
		errorType, message string
	}{
		"chosen-type":  {messages.InvokeResponse_Error{Type: "T", Message: "m"}, false, "T", "m"},
		"pointer-type": {&customError{}, false, "customError", "custom"},
		"wrapped":      {fmt.Errorf("w: %w", &customError{}), false, "wrapError", "w: custom"},
		"deadline":     {context.DeadlineExceeded, false, "Lambda:ExecutionTimeoutException", "Execution timed out."},
		"panic":        {nil, true, "Lambda:Unhandled", "The function panicked."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Code: passThrough, Invoker: invoker(func(context.Context, call) (any, error) {
				if c.panics {
					panic("secret")
				}
				return nil, c.err
			})})
			got := query(t, server, "bob", `{ status(userId: 1) { userId } }`, nil)
			want := fmt.Sprintf(`{"data":{"status":null},"errors":[{"path":["status"],"data":null,"errorType":%q,"errorInfo":null,"locations":[{"line":1,"column":3,"sourceName":null}],"message":%q}]}`, c.errorType, c.message)
			if diff := cmp.Diff(canonical(t, want), canonical(t, got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An answer that is too large is an error, however it came to be.
func TestResponseTooLarge(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	server := newServer(t, appsync.Options{Invoker: invoker(func(_ context.Context, c call) (any, error) {
		if c.Field == "Query.status" {
			return data(presence.Presence{UserID: "a", Status: presence.Online, Title: &long}), nil
		}
		return data(slices.Repeat([]presence.Presence{{UserID: "a", Status: presence.Online, Title: &long}}, 6)), nil
	})})
	for name, document := range map[string]string{
		"one-field":   `{ statuses(userIds: []) { userId title } }`,
		"many-fields": `{ a: status(userId: 1) { title } b: status(userId: 1) { title } c: status(userId: 1) { title } d: status(userId: 1) { title } e: status(userId: 1) { title } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := query(t, server, "bob", document, nil); got != `{"data":null,"errors":[{"path":null,"locations":null,"message":"The response is larger than 5 MB."}]}` {
				t.Errorf("%d bytes: %.200s", len(got), got)
			}
		})
	}
}

// A handler that does not heed its deadline does not hold the client.
func TestInvokeTimeout(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	server := newServer(t, appsync.Options{Code: passThrough, InvokeTimeout: time.Millisecond, Invoker: invoker(func(context.Context, call) (any, error) {
		<-free
		return nil, nil
	})})
	t.Cleanup(func() { close(free) })
	if got := query(t, server, "bob", `{ status(userId: 1) { userId } }`, nil); !strings.Contains(got, "Lambda:ExecutionTimeoutException") {
		t.Error(got)
	}
}

// A mutation that has begun is finished though its client is gone.
func TestClientGone(t *testing.T) {
	t.Parallel()
	begun, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
		close(begun)
		<-finish
		ended <- ctx.Err()
		return fakePresence(ctx, c)
	})})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+appsync.Path, strings.NewReader(`{"query":"mutation { connect(url: \"u\", title: \"\") { userId } }"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "bob")
	gone := make(chan error)
	go func() {
		resp, err := server.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	<-begun
	cancel()
	if <-gone == nil {
		t.Error("the request was answered")
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Errorf("the handler saw %v", err)
	}
}

// Mutations of one request run in order, queries at once.
func TestOrder(t *testing.T) {
	t.Parallel()
	var order []string
	both := make(chan struct{})
	server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
		if strings.HasPrefix(c.Field, "Mutation.") {
			order = append(order, string(c.Arguments)) // The race detector is the test.
			return data(nil), nil
		}
		select { // Each waits for the other.
		case both <- struct{}{}:
		case <-both:
		}
		return fakePresence(ctx, c)
	})})
	query(t, server, "iam", `mutation { a: connected(userId: 1) { url } b: connected(userId: 2) { url } c: connected(userId: 3) { url } }`, nil)
	if want := []string{`{"userId":"1"}`, `{"userId":"2"}`, `{"userId":"3"}`}; !cmp.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	query(t, server, "bob", `{ a: status(userId: 1) { url } b: status(userId: 2) { url } }`, nil)
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	schema := `
		enum E { A B }
		interface Node { id: ID! }
		type Thing implements Node { id: ID! e: E n: Int f: Float b: Boolean list: [Int!] child: Thing at: AWSDateTime
			date: AWSDate time: AWSTime ts: AWSTimestamp mail: AWSEmail json: AWSJSON url: AWSURL phone: AWSPhone ip: AWSIPAddress }
		type Other implements Node { id: ID! }
		union Any = Thing | Other
		type Query { thing: Thing must: Thing! node: Node any: Any at(t: AWSDateTime!): String in(i: In): String }
		input In { at: AWSDateTime n: Int = 7 }`
	for name, c := range map[string]struct{ query, result, want string }{
		"scalars":       {`{thing{id n f b at date time ts mail json url phone ip}}`, `{"id":7,"n":1,"f":1.5,"b":true,"at":"2020-01-01T00:00:00.000Z","date":"2020-01-01Z","time":"10:20:30Z","ts":1700000000,"mail":"a@b.c","json":{"a":1},"url":"https://a/b","phone":"+1 555-0100","ip":"::1/64"}`, `{"data":{"thing":{"id":"7","n":1,"f":1.5,"b":true,"at":"2020-01-01T00:00:00.000Z","date":"2020-01-01Z","time":"10:20:30Z","ts":1700000000,"mail":"a@b.c","json":"{\"a\":1}","url":"https://a/b","phone":"+1 555-0100","ip":"::1/64"}}}`},
		"bad-date-time": {`{thing{at}}`, `{"at":"yesterday"}`, "{\"data\":{\"thing\":{\"at\":null}},\"errors\":[{\"path\":[\"thing\",\"at\"],\"locations\":null,\"message\":\"Can't serialize value (/thing/at) : Unable to serialize `yesterday` as a valid DateTime Object.\"}]}"},
		"bad-enum":      {`{thing{e}}`, `{"e":"C"}`, `{"data":{"thing":{"e":null}},"errors":[{"path":["thing","e"],"locations":null,"message":"Can't serialize value (/thing/e) : Invalid input for Enum 'E'. No value found for name 'C'"}]}`},
		"bad-list":      {`{thing{list}}`, `{"list":1}`, `{"data":{"thing":{"list":null}},"errors":[{"path":["thing","list"],"locations":null,"message":"Can't resolve value (/thing/list) : type mismatch error, expected type LIST"}]}`},
		"null-in-list":  {`{thing{list}}`, `{"list":[1,null]}`, `{"data":{"thing":{"list":null}},"errors":[{"path":["thing","list",1],"locations":null,"message":"Cannot return null for non-nullable type: 'Int' within parent 'Thing' (/thing/list[1])"}]}`},
		"null-climbs":   {`{thing{id child{id}}}`, `{"id":1,"child":{}}`, `{"data":{"thing":{"id":"1","child":null}},"errors":[{"path":["thing","child","id"],"locations":null,"message":"Cannot return null for non-nullable type: 'ID' within parent 'Thing' (/thing/child/id)"}]}`},
		"null-root":     {`{must{id}}`, `null`, `{"data":null,"errors":[{"path":["must"],"locations":null,"message":"Cannot return null for non-nullable type: 'Thing' within parent 'Query' (/must)"}]}`},
		"no-object":     {`{thing{id}}`, `"x"`, `{"data":{"thing":null},"errors":[{"path":["thing"],"locations":null,"message":"Can't resolve value (/thing) : type mismatch error, expected type Thing"}]}`},
		"interface":     {`{node{__typename id ... on Thing{n}}}`, `{"__typename":"Thing","id":1,"n":2}`, `{"data":{"node":{"__typename":"Thing","id":"1","n":2}}}`},
		"union":         {`{any{... on Other{id} ... on Thing{n}}}`, `{"__typename":"Other","id":1,"n":2}`, `{"data":{"any":{"id":"1"}}}`},
		"unknown-type":  {`{any{__typename}}`, `{"__typename":"Nope"}`, `{"data":{"any":null},"errors":[{"path":["any"],"locations":null,"message":"Can't resolve value (/any) : type mismatch error, expected type Any"}]}`},
		"bad-argument":  {`{at(t: "x")}`, `"ok"`, "{\"data\":{\"at\":null},\"errors\":[{\"path\":null,\"locations\":[{\"line\":1,\"column\":2,\"sourceName\":null}],\"message\":\"Validation error of type WrongType: argument 't' is not a valid 'AWSDateTime!': Unable to parse `x` as a valid DateTime Object. @ 'at'\"}]}"},
		"input-object":  {`{in(i: {at: "2020-01-01T00:00Z"})}`, `"ok"`, `{"data":{"in":"ok"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Schema: schema, Invoker: invoker(func(context.Context, call) (any, error) {
				return json.RawMessage(c.result), nil
			})})
			if diff := cmp.Diff(canonical(t, c.want), canonical(t, query(t, server, "bob", c.query, nil))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Every directive admits its own mode and nobody else; a field's overrides its
// type's; no directive is the default mode, user pools.
func TestDirectives(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{
		Schema: `
			type Query {
				none: String  key: String @aws_api_key  iam: String @aws_iam  oidc: String @aws_oidc  lambda: String @aws_lambda
				pools: String @aws_cognito_user_pools  admins: String @aws_cognito_user_pools(cognito_groups: ["admins"])
				two: String @aws_iam @aws_api_key
				typed: Typed @aws_iam @aws_cognito_user_pools @aws_api_key
			}
			type Typed @aws_iam { a: String b: String @aws_cognito_user_pools }`,
		Invoker: invoker(func(context.Context, call) (any, error) {
			return json.RawMessage(`{"a":"1","b":"1"}`), nil
		}),
	})
	fields := []string{"none", "key", "iam", "oidc", "lambda", "pools", "admins", "two", "a", "b"}
	for who, want := range map[string]string{
		"key":    "key two",
		"iam":    "iam two a",
		"oidc":   "oidc",
		"lambda": "lambda",
		"bob":    "none pools b",
		"admin":  "none pools admins b",
	} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			var allowed []string
			for _, field := range fields {
				document := "{ " + field + " }"
				if len(field) == 1 {
					document = "{ typed { " + field + " } }"
				}
				if got := query(t, server, who, document, nil); !strings.Contains(got, "Not Authorized to access "+field) && !strings.Contains(got, "access typed") {
					allowed = append(allowed, field)
				}
			}
			if got := strings.Join(allowed, " "); got != want {
				t.Errorf("may read %q, want %q", got, want)
			}
		})
	}
}

func TestAuthDirective(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{
		Schema:  `type Query { open: String closed: String @aws_auth(cognito_groups: ["admins"]) }`,
		Invoker: invoker(func(context.Context, call) (any, error) { return "x", nil }),
	})
	for who, want := range map[string]string{"bob": `"closed":null`, "admin": `"closed":"x"`} {
		if got := query(t, server, who, "{ open closed }", nil); !strings.Contains(got, want) || !strings.Contains(got, `"open":"x"`) {
			t.Errorf("%s: %s", who, got)
		}
	}
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"syntax":           `type Query {`,
		"no-query":         `type A { a: Int }`,
		"unknown-mutation": `type Query { a: Int } type Subscription { s: Int @aws_subscribe(mutations: ["m"]) }`,
		"other-type":       `type Query { a: Int } type Mutation { m: String } type Subscription { s: Int @aws_subscribe(mutations: ["m"]) }`,
		"mixed-aws-auth":   `type Query { a: Int @aws_auth(cognito_groups: ["x"]) b: Int @aws_iam }`,
		"unknown-scalar":   `type Query { a: AWSNope }`,
		"no-code":          presence.Schema,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := appsync.New(appsync.Options{Schema: schema}); err == nil || presence.AsError(err).Code != presence.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
}

// Documents made to be expensive are answered or refused without much work.
// The test runs alone, because it looks at the clock.
func TestBombs(t *testing.T) {
	server := newServer(t, appsync.Options{})
	var fragments strings.Builder
	for i := range 30 {
		fmt.Fprintf(&fragments, "fragment F%d on Presence { ...F%d ...F%d } ", i, i+1, i+1)
	}
	for name, document := range map[string]string{
		"aliases":            "{" + manyTimes(1200, func(i int) string { return fmt.Sprintf(`a%d: status(userId: %d) { userId } `, i, i) }) + "}",
		"same-field":         "{ status(userId: 1) {" + strings.Repeat("userId ", 14_000) + "} }",
		"same-object":        "{" + strings.Repeat("__schema{types{name}}", 2000) + "}",
		"same-nested":        "{ __schema {" + strings.Repeat("types{"+strings.Repeat("name ", 100)+"}", 140) + "} }",
		"same-arguments":     "{" + strings.Repeat("status(userId:1){url}", 1600) + "}",
		"same-inline":        "{ status(userId: 1) {" + strings.Repeat("...{url}", 3600) + "} }",
		"same-spread":        "{ status(userId: 1) {" + manyTimes(1600, func(i int) string { return fmt.Sprintf("...F%d ", i) }) + "} }" + manyTimes(1300, func(i int) string { return fmt.Sprintf("fragment F%d on Presence{url}", i) }),
		"many-fragments":     "{ status(userId: 1) {" + manyTimes(500, func(i int) string { return fmt.Sprintf("...F%d ", i) }) + "} }" + manyTimes(500, func(i int) string { return fmt.Sprintf("fragment F%d on Presence{url}", i) }),
		"same-directive":     "{ status(userId: 1) {" + strings.Repeat("url @skip(if:true) ", 1800) + "} }",
		"fragment-doubling":  "{ status(userId: 1) { ...F0 } } " + fragments.String() + "fragment F30 on Presence { userId }",
		"fragment-cycle":     "{ status(userId: 1) { ...A } } fragment A on Presence { ...B } fragment B on Presence { ...A }",
		"introspection-deep": "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
		"introspection-wide": "{" + manyTimes(300, func(i int) string { return fmt.Sprintf(`a%d: __schema { types { name fields { name } } } `, i) }) + "}",
		"directives":         "{ status(userId: 1) { userId " + strings.Repeat("@skip(if: false) ", 2000) + "} }",
		"unused-fragments":   "{ __typename } " + manyTimes(1500, func(i int) string { return fmt.Sprintf("fragment F%d on Presence { userId } ", i) }),
		"deep-list":          `{ statuses(userIds: ` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `) { userId } }`,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			status, _, got := post(t, server, "bob", encode(t, map[string]string{"query": document}))
			if status >= 500 || !json.Valid([]byte(got)) {
				t.Errorf("status %d: %.200s", status, got)
			}
			// Each takes milliseconds; some would take half a minute.
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("huge-variable", func(t *testing.T) {
		body := `{"query":"query($u: ID!) { status(userId: $u) { userId } }","variables":{"u":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}}`
		if status, _, got := post(t, server, "bob", body); status >= 500 || !json.Valid([]byte(got)) {
			t.Errorf("status %d: %.200s", status, got)
		}
	})
}

func manyTimes(n int, f func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(i))
	}
	return b.String()
}
