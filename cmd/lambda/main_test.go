package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"presence"
	"presence/internal/config"
	"presence/internal/local/eventbridge"
	"presence/internal/local/lambda"
	"presence/internal/testenv"
	"presence/resolvers"
)

// scratch holds the binaries until the tests are over.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "presence-lambda-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// builds are the bootstraps by platform, each built once, as it is deployed.
var builds sync.Map

// build returns the bootstrap for a platform. It is built as it is deployed.
func build(t *testing.T, goos, goarch string) string {
	t.Helper()
	once, _ := builds.LoadOrStore(goos+"-"+goarch, sync.OnceValues(func() (string, error) {
		path := filepath.Join(scratch, "bootstrap-"+goos+"-"+goarch)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", path, ".")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
		return path, nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// function is a started function with what it needs around it.
type function struct {
	*lambda.Function
	output safeBuilder

	// end ends the function and waits for the events on the way.
	end       func()
	mu        sync.Mutex
	delivered []string
}

// start runs the bootstrap of this machine with an embedded Redis and an
// EventBridge behind it. Later variables of env replace those set here.
func start(t *testing.T, env ...string) *function {
	t.Helper()
	f := &function{}
	bus, err := eventbridge.New(eventbridge.Options{
		Rules: []eventbridge.Rule{{
			Name: "all", Bus: "presence", Pattern: `{"source":["` + presence.EventSource + `"]}`,
			Target: func(_ context.Context, event []byte) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.delivered = append(f.delivered, string(event))
				return nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	busServer := httptest.NewServer(bus)
	redisURL, _ := testenv.Embedded(t)
	f.Function = &lambda.Function{
		Bootstrap: build(t, runtime.GOOS, runtime.GOARCH),
		Output:    &f.output,
		Env: append([]string{
			"PRESENCE_REDIS_URL=" + redisURL,
			"PRESENCE_SWEEP_FOR=0s",
			"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example",
			"AWS_ENDPOINT_URL_EVENTBRIDGE=" + busServer.URL,
		}, env...),
	}
	f.end = sync.OnceFunc(func() {
		f.Close()
		busServer.Close()
		if err := bus.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.end)
	return f
}

// log ends the function and returns all that it printed. Before its end, some may
// still be on the way.
func (f *function) log() string {
	f.end()
	return f.output.String()
}

// published ends the function and returns the events it published.
func (f *function) published() []string {
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delivered
}

// event returns the text of an event in testdata.
func event(t *testing.T, name string) []byte {
	t.Helper()
	payload, err := os.ReadFile(filepath.Join("..", "..", "testdata", "events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// The binary answers the recorded events, over the Runtime API, with a real
// SDK client behind it that talks to an EventBridge. What it refuses is an
// answer too: an invocation fails by a defect alone.
func TestEvents(t *testing.T) {
	t.Parallel()
	f := start(t)
	// In this order: each finds what the one before has left.
	steps := []struct{ event, want string }{
		{"status", `{"data":{"userId":"alice","status":"offline"`},
		{"status-identity-pool", `{"data":{"userId":"alice","status":"offline"`},
		{"connect", `{"data":{"userId":"alice","status":"online"`},
		{"heartbeat", `"url":"https://example.com/welcome"`},
		{"statuses", `"userId":"bob","status":"offline"`},
		{"connected", `"topics":["` + presence.UserTopic("alice") + `"]`},
		{"on-status", `{"data":{"filterGroup":[{"filters":[{"fieldName":"topics","operator":"containsAny","value":["` + presence.UserTopic("alice") + `"]}]}]}}`},
		{"on-presence", `"value":["` + presence.UserTopic("alice") + `","` + presence.UserTopic("bob") + `"]`},
		{"sweep", `null`},
		{"disconnect", `{"data":{"userId":"alice","status":"offline"`},
		{"disconnected", `"topics":["` + presence.UserTopic("alice") + `"]`},
		{"heartbeat-query", `"title":"Welcome"`},
		{"connect-api-key", `{"error":{"type":"Unauthorized","message":"`},
		{"connect-bad-url", `{"error":{"type":"InvalidArgument","message":"`},
		{"connected-by-user", `{"error":{"type":"Unauthorized","message":"`},
	}
	for _, step := range steps {
		reply, err := f.Invoke(t.Context(), event(t, step.event))
		if err != nil || !strings.Contains(string(reply), step.want) {
			t.Errorf("%s: got %s, %v; want %s", step.event, reply, err, step.want)
		}
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "events", "*.json"))
	if err != nil || len(files) != len(steps) {
		t.Errorf("%d event files, of which %d are tried here (%v)", len(files), len(steps), err)
	}
	var types []string
	for _, text := range f.published() {
		var e struct {
			Type string `json:"detail-type"`
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Error(err)
		}
		types = append(types, e.Type)
	}
	if want := []string{"presence.connected", "presence.disconnected", "presence.connected"}; !slices.Equal(types, want) {
		t.Errorf("published %q, want %q", types, want)
	}
	for _, secret := range []string{"example.com/welcome", "Welcome"} {
		if log := f.log(); strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
}

// D7: the function writes its metrics into the namespace it is given.
func TestMetricsNamespace(t *testing.T) {
	t.Parallel()
	f := start(t, "PRESENCE_METRICS_NAMESPACE=Presence/live")
	// Metrics are written once a minute, or when there are a hundred values of one.
	for range 100 {
		if _, err := f.Invoke(t.Context(), event(t, "status")); err != nil {
			t.Fatal(err)
		}
	}
	if log := f.log(); !strings.Contains(log, `"Namespace":"Presence/live"`) {
		t.Errorf("the log has no metrics of that namespace:\n%s", log)
	}
}

// Without Redis the function answers that it cannot, which is no failed
// invocation, and its log says why.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	f := start(t, "PRESENCE_REDIS_URL=redis://127.0.0.1:1")
	reply, err := f.Invoke(t.Context(), event(t, "connect"))
	if want := `{"error":{"type":"Unavailable"`; err != nil || !strings.HasPrefix(string(reply), want) {
		t.Errorf("got %s, %v; want %s…", reply, err, want)
	}
	if strings.Contains(string(reply), "127.0.0.1") {
		t.Errorf("the caller is told an address: %s", reply)
	}
	if log := f.log(); !strings.Contains(log, "connection refused") {
		t.Errorf("the log has no cause:\n%s", log)
	}
}

// Row C6 of the trials: the function goes on with a Redis that evicts, and its log
// says what to set.
func TestC6Warning(t *testing.T) {
	t.Parallel()
	f := start(t, "PRESENCE_REDIS_URL="+testenv.Redis(t, "--maxmemory-policy", "allkeys-lru").URL)
	reply, err := f.Invoke(t.Context(), event(t, "connect"))
	if want := `{"data":`; err != nil || !strings.HasPrefix(string(reply), want) {
		t.Errorf("got %s, %v; want %s…", reply, err, want)
	}
	if log := f.log(); !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, "set its maxmemory-policy to noeviction") {
		t.Errorf("the log has no warning:\n%s", log)
	}
}

// No token, header or claim reaches the function, its log or its events: the
// resolver, run by Node.js here, sends the field, the arguments and the caller.
// Should one arrive nonetheless, the function ignores it.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	node := testenv.Require(t, "node", "node")
	// What AppSync gives the resolver of a signed-in user's call.
	appsync := `{
		"arguments": {"url": "https://example.com/welcome", "title": "Welcome"},
		"identity": {
			"sub": "alice", "username": "alice-name", "issuer": "https://issuer.example", "groups": ["group-secret"],
			"claims": {"sub": "alice", "email": "claim-secret"}, "sourceIp": ["192.0.2.77"], "defaultAuthStrategy": "ALLOW"
		},
		"request": {"headers": {"authorization": "token-secret", "cookie": "header-secret", "x-forwarded-for": "192.0.2.77"}, "domainName": null},
		"info": {"parentTypeName": "Mutation", "fieldName": "connect", "variables": {"url": "variable-secret"}, "selectionSetList": ["userId"]},
		"prev": null, "source": null, "stash": {}
	}`
	script := strings.Replace(resolvers.JS, "import { extensions, util } from '@aws-appsync/utils';", "const extensions = {}, util = {};", 1) +
		"\nconsole.log(JSON.stringify(request(" + appsync + ").payload));"
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-")
	cmd.Stdin = strings.NewReader(script)
	payload, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"field":"Mutation.connect","arguments":{"url":"https://example.com/welcome","title":"Welcome"},"caller":{"mode":"user","id":"alice"}}`
	if got := strings.TrimSpace(string(payload)); got != want {
		t.Errorf("the function is sent %s, want %s", got, want)
	}

	f := start(t)
	var all []string
	leaky := strings.TrimSuffix(strings.TrimSpace(want), "}") + `,"request":{"headers":{"authorization":"token-secret","cookie":"header-secret"}},` +
		`"identity":{"claims":{"email":"claim-secret"},"sourceIp":["192.0.2.77"]}}`
	for _, sent := range []string{
		leaky,
		strings.Replace(leaky, "https://example.com/welcome", "javascript:alert(1)", 1), // Refused.
		strings.Replace(leaky, "Mutation.connect", "Mutation.header-secret", 1),         // No such field.
		leaky[:len(leaky)-1], // No JSON.
	} {
		reply, err := f.Invoke(t.Context(), []byte(sent))
		if err != nil {
			t.Error(err)
		}
		all = append(all, string(reply))
	}
	all = append(all, f.log())
	published := f.published()
	if len(published) != 1 {
		t.Errorf("published %q, want the one change", published)
	}
	for _, text := range append(all, published...) {
		for _, secret := range []string{"token-secret", "header-secret", "claim-secret", "192.0.2.77"} {
			if strings.Contains(text, secret) {
				t.Errorf("an answer, an event or the log has %q:\n%s", secret, text)
			}
		}
	}
}

// An instance that is started wrongly says why, and in JSON.
func TestNotStarted(t *testing.T) {
	t.Parallel()
	var log safeBuilder
	function := &lambda.Function{Bootstrap: build(t, runtime.GOOS, runtime.GOARCH), Output: &log, Env: []string{"AWS_REGION=us-east-1"}}
	t.Cleanup(function.Close)
	if _, err := function.Invoke(t.Context(), []byte(`{}`)); err == nil {
		t.Fatal("answers without a Redis")
	}
	var line struct{ Level, Cause string }
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil || !strings.Contains(line.Cause, "PRESENCE_REDIS_URL") {
		t.Errorf("got %q (%v), want what is missing", log.String(), err)
	}
}

// What the deployed binary must not carry: the laptop half, and CDK.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-tags=lambda.norpc", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "presence/resolvers") {
		t.Fatal("go list does not list what the binary imports")
	}
	for _, dep := range deps {
		for _, banned := range []string{"miniredis", "gqlparser", "gqlgen", "websocket", "aws-cdk-go", "jsii", "presence/internal/local", "lestrrat-go", "quamina", "kong", "prometheus", "net/rpc", "testing"} {
			if strings.Contains(dep, banned) && dep != "internal/testing" {
				t.Errorf("the binary imports %s", dep)
			}
		}
	}
}

func TestDeployedBuild(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"arm64", "amd64"} {
		info, err := os.Stat(build(t, "linux", arch))
		if err != nil {
			t.Fatal(err)
		}
		if mb := float64(info.Size()) / 1e6; mb > 13 {
			t.Errorf("%s: %.1f MB, want at most 13", arch, mb)
		}
	}
}

func TestElastiCacheCredentials(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "session"}
	credentials := elastiCacheCredentials(config.Redis{RedisIAMUser: "presence", RedisIAMCache: "cache", RedisIAMServerless: true}, func(name string) string { return env[name] })
	user, password, err := credentials(t.Context())
	if err != nil || user != "presence" {
		t.Fatalf("got %q, %v", user, err)
	}
	u, err := url.Parse("http://" + password)
	if err != nil || u.Host != "cache" || u.Path != "/" {
		t.Fatalf("got %q, %v; want a request to the cache without its scheme", password, err)
	}
	for name, want := range map[string]string{
		"Action": "connect", "User": "presence", "ResourceType": "ServerlessCache", "X-Amz-Expires": "900",
		"X-Amz-Security-Token": "session", "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
		"X-Amz-Credential": "AKIDEXAMPLE/" + time.Now().UTC().Format("20060102") + "/eu-west-1/elasticache/aws4_request",
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// safeBuilder is a strings.Builder that a process may write to meanwhile.
type safeBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
