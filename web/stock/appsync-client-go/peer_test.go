// Package peer runs an AppSync client that is not ours, in Go, against the
// server. It is a module of its own, so that what the client needs does not
// become what the API needs.
package peer_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go/aws/credentials"
	v4 "github.com/aws/aws-sdk-go/aws/signer/v4"
	"github.com/sony/appsync-client-go"
	"github.com/sony/appsync-client-go/graphql"
)

const (
	region = "us-east-1"
	key    = "AKIATEST"
	secret = "secret"
	fields = "{ userId status url title lastSeen asOf expiresAt heartbeatIntervalMs }"
)

type presence struct {
	UserID, Status, Title string
}

// serve starts the server and returns its endpoint.
func serve(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("PRESENCE_BIN")
	if bin == "" {
		t.Fatal("PRESENCE_BIN is not set: run this through go test ./web.")
	}
	cmd := exec.CommandContext(t.Context(), bin, "serve", "--addr", "127.0.0.1:0", "--iam-key", key+":"+secret)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == "GraphQL" {
			go io.Copy(io.Discard, out)
			return f[1]
		}
	}
	t.Fatal("the server does not say where it is")
	return ""
}

func token(t *testing.T, endpoint, user string) string {
	t.Helper()
	res, err := http.Get(strings.TrimSuffix(endpoint, "/graphql") + "/token?user=" + user)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	jwt, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(jwt))
}

func request(t *testing.T, query string, variables map[string]any) graphql.PostRequest {
	t.Helper()
	b, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	raw := json.RawMessage(b)
	return graphql.PostRequest{Query: query, Variables: &raw}
}

// caller is one way to be let in.
type caller struct {
	client    *appsync.Client
	subscribe appsync.PureWebSocketSubscriberOption
}

func withToken(endpoint, jwt string) caller {
	return caller{
		appsync.NewClient(appsync.NewGraphQLClient(graphql.NewClient(endpoint, graphql.WithCredential(jwt)))),
		appsync.WithOIDC(endpoint, jwt),
	}
}

func withKey(endpoint, secret string) caller {
	signer := v4.NewSigner(credentials.NewStaticCredentials(key, secret, ""))
	return caller{
		appsync.NewClient(appsync.NewGraphQLClient(graphql.NewClient(endpoint)), appsync.WithIAMAuthorization(*signer, region, endpoint)),
		appsync.WithIAM(signer, region, endpoint),
	}
}

func TestPeer(t *testing.T) {
	endpoint := serve(t)
	realtime := strings.Replace(endpoint, "http", "ws", 1) + "/realtime"
	alice := withToken(endpoint, token(t, endpoint, "alice"))
	connect := func(t *testing.T, title string) {
		t.Helper()
		res, err := alice.client.Post(request(t, "mutation ($url: String!, $title: String!) { connect(url: $url, title: $title) "+fields+" }",
			map[string]any{"url": "https://example.com/", "title": title}))
		if err != nil || res.Errors != nil {
			t.Fatalf("connect: %v %v", err, res)
		}
		var got presence
		if err := res.DataAs(&got); err != nil || got != (presence{"alice", "online", title}) {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	onStatus := request(t, "subscription ($userId: ID!) { onStatus(userId: $userId) "+fields+" }", map[string]any{"userId": "alice"})
	status := request(t, "query { status(userId: \"alice\") "+fields+" }", nil)

	for name, who := range map[string]caller{"token": alice, "iam": withKey(endpoint, secret)} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan *graphql.Response, 10)
			subscriber := appsync.NewPureWebSocketSubscriber(realtime, onStatus,
				func(r *graphql.Response) { seen <- r },
				func(err error) { t.Errorf("connection lost: %v", err) },
				who.subscribe)
			if err := subscriber.Start(); err != nil {
				t.Fatal(err)
			}
			connect(t, name)
			select {
			case res := <-seen:
				var got presence
				if err := res.DataAs(&got); err != nil || got != (presence{"alice", "online", name}) {
					t.Errorf("got %+v, %v", got, err)
				}
			case <-time.After(10 * time.Second):
				t.Error("no message")
			}
			// It waits for the server's complete.
			subscriber.Stop()
			connect(t, "unheard")
			if len(seen) > 0 {
				t.Error("a message after the end")
			}

			res, err := who.client.Post(status)
			if err != nil || res.Errors != nil {
				t.Fatalf("status: %v %v", err, res)
			}
			var got presence
			if err := res.DataAs(&got); err != nil || got != (presence{"alice", "online", "unheard"}) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}

	jwt := token(t, endpoint, "alice")
	for name, test := range map[string]struct {
		who    caller
		status int
	}{
		"bad-token": {withToken(endpoint, jwt[:len(jwt)-8]+"AAAAAAAA"), http.StatusUnauthorized},
		"bad-key":   {withKey(endpoint, "wrong"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := test.who.client.Post(status)
			if err == nil && (res.StatusCode == nil || *res.StatusCode != test.status) {
				t.Errorf("got %+v, want %d", res, test.status)
			}
			subscriber := appsync.NewPureWebSocketSubscriber(realtime, onStatus, func(*graphql.Response) {}, func(error) {}, test.who.subscribe)
			started := make(chan error, 1)
			go func() { started <- subscriber.Start() }()
			select {
			case err := <-started:
				if err == nil {
					t.Error("the socket let it in")
				}
			case <-time.After(10 * time.Second):
				t.Error("the socket did not answer")
			}
		})
	}
}

// Whatever a mutation selects, and under whatever name, a watcher is told each
// change once, and the truth.
func TestOthersSelections(t *testing.T) {
	endpoint := serve(t)
	alice := withToken(endpoint, token(t, endpoint, "alice"))
	frank := withToken(endpoint, token(t, endpoint, "frank"))
	onPresence := request(t, "subscription ($watch: Watch!) { onPresence(watch: $watch) "+fields+" }",
		map[string]any{"watch": map[string]any{"userIds": []string{"bob", "frank"}}})
	seen := make(chan *graphql.Response, 100)
	subscriber := appsync.NewPureWebSocketSubscriber(strings.Replace(endpoint, "http", "ws", 1)+"/realtime", onPresence,
		func(r *graphql.Response) { seen <- r },
		func(err error) { t.Errorf("connection lost: %v", err) },
		alice.subscribe)
	if err := subscriber.Start(); err != nil {
		t.Fatal(err)
	}
	defer subscriber.Stop()

	for title, mutation := range map[string]string{
		"few":      `mutation { connect(url: "https://e.com/", title: "few") { userId } }`,
		"field":    `mutation { heartbeat(url: "https://e.com/", title: "field") { userId: title status asOf: expiresAt } }`,
		"root":     `mutation { onPresence: connect(url: "https://e.com/", title: "root") { userId } }`,
		"fragment": `mutation { ...M } fragment M on Mutation { connect(url: "https://e.com/", title: "fragment") { ... on Presence { url } } }`,
		"skip":     `mutation { connect(url: "https://e.com/", title: "skip") { userId status @skip(if: true) } }`,
		"bob": `mutation { connect(url: "https://evil.example/login", title: "bob")
			{ userId: title status url title: url lastSeen asOf: expiresAt expiresAt heartbeatIntervalMs } }`,
	} {
		if res, err := frank.client.Post(request(t, mutation, nil)); err != nil || res.Errors != nil {
			t.Fatalf("%s: %v %v", title, err, res)
		}
		select {
		case res := <-seen:
			// A message that came twice would be here instead of the next.
			var got presence
			if err := res.DataAs(&got); err != nil || got != (presence{"frank", "online", title}) {
				t.Errorf("got %+v, %v, want frank on %s", got, err, title)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: no message", title)
		}
	}
}
