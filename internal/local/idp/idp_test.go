package idp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"go.uber.org/goleak"

	"presence"
	"presence/internal/auth"
	"presence/internal/local/idp"
	"presence/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve returns an issuer that is served under its own URL.
func serve(t *testing.T) (*idp.Issuer, *httptest.Server) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	is, err := idp.New(idp.Options{URL: "http://" + srv.Listener.Addr().String(), ClientID: "local"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = is
	srv.Start()
	t.Cleanup(srv.Close)
	return is, srv
}

func get(t *testing.T, srv *httptest.Server, target string) (status int, body string) {
	t.Helper()
	res, err := srv.Client().Get(srv.URL + target)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// A token fetched over HTTP lets its user in where the issuer is trusted, and
// nowhere else.
func TestTokenLetsIn(t *testing.T) {
	t.Parallel()
	is, srv := serve(t)
	other, _ := serve(t)
	a, err := auth.New(auth.Options{Issuer: is.URL(), ClientIDs: []string{is.ClientID()}, HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	authorize := func(token string) (*wire.Identity, error) {
		return a.Authorize(t.Context(), wire.Credentials{Header: http.Header{"Authorization": {token}}})
	}
	for _, target := range []string{"/token?user=alice", "/token?user=alice&use=id", "/token?user=alice&use=access&ttl=10m"} {
		status, token := get(t, srv, target)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", target, status, token)
		}
		id, err := authorize(token)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if id.Username != "alice" || id.Sub != "alice" || id.Issuer != srv.URL {
			t.Errorf("%s: %+v", target, id)
		}
	}
	token, err := other.Sign(idp.Token{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authorize(token); presence.AsError(err).Code != presence.Unauthorized {
		t.Errorf("a token of another issuer: %v", err)
	}
}

// The claims are those of the Cognito developer guide, "Understanding the
// access token" and "Understanding the identity (ID) token".
func TestClaims(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	is, err := idp.New(idp.Options{URL: "http://localhost:4000", ClientID: "local", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		token idp.Token
		want  map[string]any
	}{
		"access": {idp.Token{User: "ålice", Groups: []string{"admin"}}, map[string]any{
			"sub": "ålice", "username": "ålice", "iss": "http://localhost:4000", "client_id": "local", "token_use": "access",
			"scope": "aws.cognito.signin.user.admin", "cognito:groups": []any{"admin"},
			"iat": 1767323045.0, "auth_time": 1767323045.0, "exp": 1767326645.0,
		}},
		"id": {idp.Token{User: "alice", Use: "id", TTL: time.Minute}, map[string]any{
			"sub": "alice", "cognito:username": "alice", "iss": "http://localhost:4000", "aud": []any{"local"}, "token_use": "id",
			"iat": 1767323045.0, "auth_time": 1767323045.0, "exp": 1767323105.0,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed, err := is.Sign(tt.token)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := jwt.ParseInsecure([]byte(signed))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(parsed)
			var got map[string]any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			for _, random := range []string{"jti", "origin_jti", "event_id"} {
				if got[random] == nil {
					t.Errorf("no %s", random)
				}
				delete(got, random)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	_, srv := serve(t)
	for name, target := range map[string]string{
		"no-user":      "/token",
		"empty-user":   "/token?user=",
		"long-user":    "/token?user=" + strings.Repeat("a", 129),
		"control":      "/token?user=a%00b",
		"newline":      "/token?user=a%0Ab",
		"no-utf8":      "/token?user=%ff",
		"unknown-use":  "/token?user=a&use=refresh",
		"ttl-no-unit":  "/token?user=a&ttl=10",
		"ttl-zero":     "/token?user=a&ttl=0s",
		"ttl-negative": "/token?user=a&ttl=-1h",
		"ttl-long":     "/token?user=a&ttl=25h",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := get(t, srv, target); status != http.StatusBadRequest || !strings.HasSuffix(body, ".\n") {
				t.Errorf("%d %q, want 400 and a sentence", status, body)
			}
		})
	}
}

// Whoever gets a token is that user: another machine, or a web page that only
// resolves to this one, must not.
func TestTokensStayOnThisMachine(t *testing.T) {
	t.Parallel()
	is, err := idp.New(idp.Options{URL: "http://localhost:4000", ClientID: "local"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		remote, host, origin, site string
		method, path, proxy        string
		want                       int
	}{
		"ipv4":               {want: 200},
		"ipv6":               {remote: "[::1]:5", host: "[::1]:4000", want: 200},
		"mapped":             {remote: "[::ffff:127.0.0.1]:5", want: 200},
		"host-without-port":  {host: "localhost", want: 200},
		"host-127":           {host: "127.0.0.1:4000", want: 200},
		"local-page":         {origin: "http://localhost:5173", want: 200},
		"other-machine":      {remote: "192.168.1.7:5", want: 403},
		"other-machine-ipv6": {remote: "[2001:db8::1]:5", want: 403},
		"no-address":         {remote: "@", want: 403},
		"dns-rebinding":      {host: "evil.example:4000", want: 403},
		"host-looks-local":   {host: "localhost.evil.example:4000", want: 403},
		"host-empty":         {host: "-", want: 403},
		"foreign-page":       {origin: "https://evil.example", want: 403},
		"origin-looks-local": {origin: "http://localhost.evil.example", want: 403},
		"origin-null":        {origin: "null", want: 403},
		"cross-site-no-cors": {site: "cross-site", want: 403},
		"proxy":              {proxy: "X-Forwarded-For", want: 403},
		"proxy-rfc7239":      {proxy: "Forwarded", want: 403},
		"proxy-nginx":        {proxy: "X-Real-Ip", want: 403},
		"post":               {method: "POST", want: 405},
		"keys-for-everybody": {remote: "192.168.1.7:5", host: "box:4000", path: idp.JWKSPath, want: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			or := func(a, b string) string {
				if a == "" {
					return b
				}
				return a
			}
			r := httptest.NewRequest(or(tt.method, "GET"), or(tt.path, idp.TokenPath)+"?user=alice", nil)
			r.RemoteAddr = or(tt.remote, "127.0.0.1:5")
			r.Host = strings.Trim(or(tt.host, "localhost:4000"), "-")
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			if tt.site != "" {
				r.Header.Set("Sec-Fetch-Site", tt.site)
			}
			if tt.proxy != "" {
				r.Header.Set(tt.proxy, "203.0.113.1")
			}
			w := httptest.NewRecorder()
			is.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("%d, want %d", w.Code, tt.want)
			}
			cors := w.Header().Get("Access-Control-Allow-Origin")
			if wantCORS := tt.origin != "" && tt.want == 200; wantCORS != (cors == tt.origin && cors != "") {
				t.Errorf("Access-Control-Allow-Origin %q", cors)
			}
			if tt.want == 403 && strings.Contains(w.Body.String(), "eyJ") {
				t.Error("a token was sent")
			}
		})
	}
}

// The key set must not hold what only the issuer may know.
func TestKeySetIsPublic(t *testing.T) {
	t.Parallel()
	_, srv := serve(t)
	_, body := get(t, srv, idp.JWKSPath)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 {
		t.Fatalf("%d keys", len(set.Keys))
	}
	key := set.Keys[0]
	if key["kty"] != "RSA" || key["alg"] != "RS256" || key["use"] != "sig" || key["kid"] == "" || key["n"] == "" {
		t.Errorf("%v", key)
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		if key[private] != "" {
			t.Errorf("the key set has %s", private)
		}
	}
}
