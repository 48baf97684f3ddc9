package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/config"
	"presence/internal/local/eventbridge"
	"presence/internal/local/lambda"
	"presence/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build returns the bootstrap, built as it is deployed, but for this machine
// unless env says another.
func build(t *testing.T, env ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", path, ".")
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	bootstrap := build(t)
	t.Run("events", func(t *testing.T) { testEvents(t, bootstrap) })
	t.Run("not-started", func(t *testing.T) { testNotStarted(t, bootstrap) })
}

// The binary answers the recorded events, over the Runtime API, with a real
// SDK client behind it that talks to an EventBridge.
func testEvents(t *testing.T, bootstrap string) {
	redisURL, _ := testenv.Embedded(t)
	var mu sync.Mutex
	var published []string
	bus, err := eventbridge.New(eventbridge.Options{
		Rules: []eventbridge.Rule{{
			Name: "all", Bus: "presence", Pattern: `{"source":["` + presence.EventSource + `"]}`,
			Target: func(_ context.Context, event []byte) error {
				mu.Lock()
				defer mu.Unlock()
				published = append(published, string(event))
				return nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	busServer := httptest.NewServer(bus)
	t.Cleanup(func() {
		busServer.Close()
		bus.Close(context.Background())
	})
	var log safeBuilder
	function := &lambda.Function{
		Bootstrap: bootstrap,
		Output:    &log,
		Env: []string{
			"PRESENCE_REDIS_URL=" + redisURL,
			"PRESENCE_SWEEP_FOR=0s",
			"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example",
			"AWS_ENDPOINT_URL_EVENTBRIDGE=" + busServer.URL,
		},
	}
	t.Cleanup(function.Close)

	// In this order: each finds what the one before has left.
	for _, step := range []struct{ event, want, errorType string }{
		{"status", `"status":"offline"`, ""},
		{"connect", `"status":"online"`, ""},
		{"heartbeat", `"url":"https://example.com/welcome"`, ""},
		{"heartbeat-query", `"title":"Welcome"`, ""},
		{"statuses", `"userId":"bob","status":"offline"`, ""},
		{"connected", `"status":"online"`, ""},
		{"sweep", `null`, ""},
		{"disconnect", `"status":"offline"`, ""},
		{"disconnected", `"status":"offline"`, ""},
		{"connect-api-key", "", "Unauthorized"},
		{"connect-bad-url", "", "InvalidArgument"},
		{"connected-by-user", "", "Unauthorized"},
	} {
		payload, err := os.ReadFile(filepath.Join("..", "..", "testdata", "events", step.event+".json"))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := function.Invoke(t.Context(), payload)
		if step.errorType == "" && err != nil || !strings.Contains(string(reply), step.want) {
			t.Errorf("%s: got %s, %v; want %s", step.event, reply, err, step.want)
		}
		if failure, _ := err.(messages.InvokeResponse_Error); failure.Type != step.errorType { //nolint:errorlint // Lambda's errors are never wrapped
			t.Errorf("%s: got error %v, want one of type %q", step.event, err, step.errorType)
		}
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "events", "*.json"))
	if err != nil || len(files) != 12 {
		t.Errorf("%d event files, of which 12 are tried here (%v)", len(files), err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(published) != 2 {
		t.Errorf("published %q, want a connected and a disconnected", published)
	}
	for _, secret := range []string{"example.com/welcome", "Welcome", "eyJhbGciOiJSUzI1NiJ9"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
}

// An instance that is started wrongly says why, and in JSON.
func testNotStarted(t *testing.T, bootstrap string) {
	var log safeBuilder
	function := &lambda.Function{Bootstrap: bootstrap, Output: &log, Env: []string{"AWS_REGION=us-east-1"}}
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
		info, err := os.Stat(build(t, "GOOS=linux", "GOARCH="+arch))
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
