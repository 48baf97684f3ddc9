package security_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/announce"
	"presence/internal/auth"
	"presence/internal/client"
	"presence/internal/config"
	"presence/internal/local/appsync"
	"presence/internal/local/idp"
	"presence/internal/redisstore"
	"presence/internal/testenv"
	"presence/internal/wire"
	"presence/resolvers"
)

func TestMain(m *testing.M) {
	// The store returns every error that go-redis would also print.
	logging.Disable()
	goleak.VerifyTestMain(m)
}

var timing = presence.Timing{Heartbeat: 30 * time.Second, Timeout: 75 * time.Second, Retention: time.Hour}

// One shard holds everybody: neighbours are as close as they can be.
const shards = 1

// quiet is an EventBridge that takes everything and tells nobody.
type quiet struct{}

func (quiet) Publish(context.Context, []presence.Event) (int, error) { return 0, nil }

// world is the API and what its attackers and tests reach of it.
type world struct {
	t        *testing.T
	server   *httptest.Server
	issuer   *idp.Issuer
	store    *redisstore.Store
	redisURL string
	// clock is what tokens are held against.
	clock atomic.Int64

	mu       sync.Mutex
	invoked  []string
	payloads []string
	log      bytes.Buffer
}

type options struct {
	redisURL  string
	publisher presence.Publisher
	jwksURL   string
	// answer, if not nil, answers in place of the handler.
	answer []byte
	// identityPool makes callers who sign browsers with an identity pool's
	// credentials.
	identityPool bool
}

const accessKeyID, secretAccessKey = "AKLOCAL", "canary-of-the-secret-access-key"

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, redisURL: o.redisURL}
	w.clock.Store(time.Now().UnixMilli())
	now := func() time.Time { return time.UnixMilli(w.clock.Load()) }
	if w.redisURL == "" {
		w.redisURL, _ = testenv.Embedded(t)
	}
	if o.publisher == nil {
		o.publisher = quiet{}
	}
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))

	var err error
	w.store, err = redisstore.New(redisstore.Options{Timing: timing, Redis: config.Redis{RedisURL: w.redisURL}, Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	handler := lambda.NewHandler(resolvers.New(resolvers.Options{Timing: timing, Store: w.store, Publisher: o.publisher, Logger: logger}))

	w.server = httptest.NewUnstartedServer(nil)
	base := "http://" + w.server.Listener.Addr().String()
	if w.issuer, err = idp.New(idp.Options{URL: base, ClientID: "web", Now: now}); err != nil {
		t.Fatal(err)
	}
	authorizer, err := auth.New(auth.Options{
		Issuer: base, JWKSURL: o.jwksURL, ClientIDs: []string{"web"}, Keys: auth.Keys{accessKeyID: secretAccessKey},
		HTTPClient: w.server.Client(), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	authorize := authorizer.Authorize
	if o.identityPool {
		authorize = func(ctx context.Context, c wire.Credentials) (*wire.Identity, error) {
			identity, err := authorizer.Authorize(ctx, c)
			if err == nil && identity.UserARN != "" {
				identity.CognitoIdentityPoolID, identity.CognitoIdentityID = "us-east-1:pool", "us-east-1:somebody"
			}
			return identity, err
		}
	}
	api, err := appsync.New(appsync.Options{
		Schema: presence.Schema, Code: resolvers.JS, Authorize: authorize, Logger: logger,
		Invoker: invoker(func(ctx context.Context, payload []byte) ([]byte, error) {
			var call struct{ Field string }
			if err := json.Unmarshal(payload, &call); err != nil {
				t.Errorf("a call that is none: %v", err)
			}
			w.mu.Lock()
			w.invoked = append(w.invoked, call.Field)
			w.payloads = append(w.payloads, string(payload))
			w.mu.Unlock()
			if o.answer != nil {
				return o.answer, nil
			}
			return handler.Invoke(ctx, payload)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(idp.TokenPath, w.issuer)
	mux.Handle(idp.JWKSPath, w.issuer)
	mux.Handle("/", api)
	w.server.Config = appsync.NewHTTPServer(mux)
	w.server.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	w.server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := api.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		w.server.Client().CloseIdleConnections()
		w.server.Close()
	})
	return w
}

type invoker func(context.Context, []byte) ([]byte, error)

func (f invoker) Invoke(ctx context.Context, payload []byte) ([]byte, error) { return f(ctx, payload) }

// Write takes the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// calls returns the fields the function was invoked for.
func (w *world) calls() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.invoked, " ")
}

func (w *world) token(user string) string {
	w.t.Helper()
	token, err := w.issuer.Sign(idp.Token{User: user})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// sign signs r, a request with that body, as EventBridge does.
var sign = client.IAM(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}, nil
}), "us-east-1")

// request is a GraphQL request. Variables are JSON.
type request struct {
	token, document, variables string
	iam                        bool
	header                     http.Header
	// extra are members of the body beside query and variables.
	extra string
}

// send sends r and returns the answer's body.
func (w *world) send(r request) string {
	w.t.Helper()
	document, err := json.Marshal(r.document)
	if err != nil {
		w.t.Fatal(err)
	}
	body := `{"query":` + string(document) + `,"variables":` + cmp.Or(r.variables, "{}") + r.extra + `}`
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+appsync.Path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.iam {
		// By the server's clock, which tests move.
		hash := sha256.Sum256([]byte(body))
		err = v4.NewSigner().SignHTTP(w.t.Context(), aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}, req,
			hex.EncodeToString(hash[:]), "appsync", "us-east-1", time.UnixMilli(w.clock.Load()))
	} else if r.token != "" {
		req.Header.Set("Authorization", r.token)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) string {
	w.t.Helper()
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

var everything = "{ " + strings.Join(presence.Fields(), " ") + " }"

// connect puts a user on a page.
func (w *world) connect(user, session, url string) {
	w.t.Helper()
	variables, _ := json.Marshal(map[string]string{"s": session, "u": url})
	answer := w.send(request{
		token:    w.token(user),
		document: `mutation($s: ID, $u: String!) { connect(url: $u, title: "Home", sessionId: $s) ` + everything + ` }`, variables: string(variables),
	})
	if strings.Contains(answer, `"errors"`) {
		w.t.Fatalf("connect %q: %s", user, answer)
	}
}

// announce does what EventBridge does about a change of a user.
func (w *world) announce(user string) {
	w.t.Helper()
	variables, _ := json.Marshal(map[string]string{"userId": user})
	if answer := w.send(request{iam: true, document: announce.Rules()[0].Operation(), variables: string(variables)}); strings.Contains(answer, `"errors"`) {
		w.t.Fatal(answer)
	}
}

// state reads a user past the API.
func (w *world) state(user string) presence.State {
	w.t.Helper()
	states, err := w.store.Status(w.t.Context(), []string{user})
	if err != nil {
		w.t.Fatal(err)
	}
	return states[0]
}

// socket is a real-time connection.
type socket struct {
	t  *testing.T
	ws *websocket.Conn
}

// open opens a socket as the owner of a token, up to its connection_ack.
func (w *world) open(token string) *socket {
	w.t.Helper()
	ws, _, err := websocket.Dial(w.t.Context(), w.server.URL+appsync.RealtimePath, &websocket.DialOptions{
		Subprotocols: []string{wire.Protocol}, HTTPHeader: http.Header{"Authorization": {token}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	s := &socket{w.t, ws}
	s.send(`{"type":"connection_init"}`)
	s.expect(wire.TypeConnectionAck)
	return s
}

func (s *socket) send(frame string) {
	s.t.Helper()
	if err := s.ws.Write(s.t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatal(err)
	}
}

// start sends a start of the data on the authorization, both as they are.
func (s *socket) start(id, data string, authorization map[string]string) {
	s.t.Helper()
	frame, err := json.Marshal(map[string]any{"id": id, "type": wire.TypeStart, "payload": map[string]any{
		"data": data, "extensions": map[string]any{"authorization": authorization},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(string(frame))
}

// expect returns the next frame but ka, which has to be of that type.
func (s *socket) expect(frameType string) wire.Frame {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, text, err := s.ws.Read(ctx)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", frameType, err)
		}
		var f wire.Frame
		if err := json.Unmarshal(text, &f); err != nil {
			s.t.Fatal(err)
		}
		switch f.Type {
		case frameType:
			return f
		case wire.TypeKeepAlive:
		default:
			s.t.Fatalf("got %s, want %s", text, frameType)
		}
	}
}
