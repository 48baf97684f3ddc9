package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"presence"
	"presence/internal/auth"
	"presence/internal/wire"
)

const issuerURL = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool"

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Keys are slow to make, so tests share them.
var (
	keyOne = sync.OnceValue(newKey)
	keyTwo = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// issuer serves a key set that tests change.
type issuer struct {
	*httptest.Server
	set     atomic.Value // jwk.Set
	away    atomic.Bool
	fetches atomic.Int32
}

func newIssuer(t testing.TB, keys map[string]*rsa.PrivateKey) *issuer {
	t.Helper()
	is := &issuer{}
	is.publish(t, keys)
	is.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		is.fetches.Add(1)
		if is.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(is.set.Load())
	}))
	t.Cleanup(is.Close)
	return is
}

func (is *issuer) publish(t testing.TB, keys map[string]*rsa.PrivateKey) {
	t.Helper()
	set := jwk.NewSet()
	for kid, key := range keys {
		k, err := jwk.FromRaw(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		_ = k.Set(jwk.KeyIDKey, kid)
		_ = k.Set(jwk.AlgorithmKey, jwa.RS256)
		_ = set.AddKey(k)
	}
	is.set.Store(set)
}

// clock is a clock tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(epoch.UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newAuthorizer(t testing.TB, is *issuer, c *clock) *auth.Authorizer {
	t.Helper()
	a, err := auth.New(auth.Options{
		Issuer: issuerURL, JWKSURL: is.URL, ClientIDs: []string{"web", "app"},
		Keys: auth.Keys{"AKLOCAL": "secret"}, HTTPClient: is.Client(), Now: c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func bearer(token string) wire.Credentials {
	return wire.Credentials{Method: http.MethodPost, Path: "/graphql", Header: http.Header{"Authorization": {token}}}
}

type object = map[string]any

func accessClaims() object {
	return object{
		"sub": "11-22", "iss": issuerURL, "token_use": "access", "client_id": "web", "username": "alice",
		"scope": "aws.cognito.signin.user.admin", "cognito:groups": []string{"admin"},
		"iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix(),
	}
}

func idClaims() object {
	return object{
		"sub": "11-22", "iss": issuerURL, "token_use": "id", "aud": "app", "cognito:username": "alice",
		"iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix(),
	}
}

// with returns m with changes; a nil value removes.
func with(m object, changes object) object {
	m = maps.Clone(m)
	for k, v := range changes {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return m
}

func sign(t testing.TB, claims any, alg jwa.SignatureAlgorithm, key any, kid string) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	headers := jws.NewHeaders()
	if kid != "" {
		_ = headers.Set(jws.KeyIDKey, kid)
	}
	signed, err := jws.Sign(payload, jws.WithKey(alg, key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// raw makes a token of the parts as they are.
func raw(header string, claims any, signature string) string {
	payload, _ := json.Marshal(claims)
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64(payload) + "." + signature
}

func TestUserPoolIdentity(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(t, is, newClock())
	access := sign(t, accessClaims(), jwa.RS256, keyOne(), "one")
	wantAccess := &wire.Identity{
		Sub: "11-22", Issuer: issuerURL, Username: "alice", Groups: []string{"admin"}, DefaultAuthStrategy: "ALLOW",
	}
	// Claims an issuer may let its users set: they sort after the real ones.
	lookalikes := object{"\u017fub": "victim", "u\u017fername": "victim", "cognito:group\u017f": []string{"root"}}
	for name, tt := range map[string]struct {
		header string
		claims object
		want   *wire.Identity
	}{
		"access-bare":   {access, accessClaims(), wantAccess},
		"access-bearer": {"Bearer " + access, accessClaims(), wantAccess},
		"access-lower":  {"bearer  " + access, accessClaims(), wantAccess},
		"id": {sign(t, idClaims(), jwa.RS256, keyOne(), "one"), idClaims(), &wire.Identity{
			Sub: "11-22", Issuer: issuerURL, Username: "alice", DefaultAuthStrategy: "ALLOW",
		}},
		"no-cognito": {
			sign(t, with(idClaims(), object{"token_use": nil, "aud": []string{"x", "web"}}), jwa.RS256, keyOne(), "one"),
			with(idClaims(), object{"token_use": nil, "aud": []string{"x", "web"}}), &wire.Identity{
				Sub: "11-22", Issuer: issuerURL, Username: "11-22", DefaultAuthStrategy: "ALLOW",
			},
		},
		"names-of-another-case": {
			sign(t, with(accessClaims(), lookalikes), jwa.RS256, keyOne(), "one"), with(accessClaims(), lookalikes), wantAccess,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := a.Authorize(t.Context(), bearer(tt.header))
			if err != nil {
				t.Fatal(err)
			}
			claims, _ := json.Marshal(tt.claims)
			if diff := cmp.Diff(string(claims), string(got.Claims)); diff != "" {
				t.Errorf("claims: -want +got:\n%s", diff)
			}
			got.Claims = nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Mode() != wire.ModeUserPools {
				t.Errorf("mode %q", got.Mode())
			}
		})
	}
}

func TestTokensRefused(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(t, is, newClock())
	signed := func(claims any) string { return sign(t, claims, jwa.RS256, keyOne(), "one") }
	good := signed(accessClaims())
	parts := strings.Split(good, ".")
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&keyOne().PublicKey)})

	for name, tt := range map[string]struct{ header, want string }{
		"nothing":            {"", "Valid authorization header not provided."},
		"garbage":            {"meow", "Unable to parse JWT token."},
		"bearer-only":        {"Bearer ", "Unable to parse JWT token."},
		"basic":              {"Basic YTpi", "Unable to parse JWT token."},
		"json-serialization": {`{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}`, "Unable to parse JWT token."},
		"huge":               {strings.Repeat("a", 1<<20), "Unable to parse JWT token."},
		"claims-no-object":   {signed([]int{1}), "Unable to parse JWT token."},
		"exp-no-number":      {signed(with(accessClaims(), object{"exp": "soon"})), "Unable to parse JWT token."},
		"alg-none":           {raw(`{"alg":"none","kid":"one"}`, accessClaims(), ""), "The token must be signed with RS256."},
		"alg-none-signed":    {raw(`{"alg":"None","kid":"one"}`, accessClaims(), parts[2]), "The token must be signed with RS256."},
		"alg-hs-confusion":   {sign(t, accessClaims(), jwa.HS256, publicPEM, "one"), "The token must be signed with RS256."},
		"alg-rs512":          {sign(t, accessClaims(), jwa.RS512, keyOne(), "one"), "The token must be signed with RS256."},
		"alg-rewritten":      {raw(`{"alg":"RS256","kid":"one"}`, accessClaims(), "AAAA"), "The token's signature is not valid."},
		"no-kid":             {sign(t, accessClaims(), jwa.RS256, keyOne(), ""), "The token does not name the key it is signed with."},
		"unknown-kid":        {sign(t, accessClaims(), jwa.RS256, keyTwo(), "two"), "The token is signed with a key its issuer does not have."},
		"kid-of-another-key": {sign(t, accessClaims(), jwa.RS256, keyTwo(), "one"), "The token's signature is not valid."},
		"own-key-in-header": {
			raw(fmt.Sprintf(`{"alg":"RS256","kid":"one","jwk":{"kty":"RSA","e":"AQAB","n":%q}}`, base64.RawURLEncoding.EncodeToString(keyTwo().N.Bytes())),
				accessClaims(), strings.Split(sign(t, accessClaims(), jwa.RS256, keyTwo(), "one"), ".")[2]), "The token's signature is not valid.",
		},
		"payload-swapped":    {parts[0] + "." + strings.Split(signed(with(accessClaims(), object{"username": "bob"})), ".")[1] + "." + parts[2], "The token's signature is not valid."},
		"no-signature":       {parts[0] + "." + parts[1] + ".", "The token's signature is not valid."},
		"expired":            {signed(with(accessClaims(), object{"exp": epoch.Add(-6 * time.Second).Unix()})), "Token has expired."},
		"no-exp":             {signed(with(accessClaims(), object{"exp": nil})), "The token lacks a claim that is needed."},
		"no-iat":             {signed(with(accessClaims(), object{"iat": nil})), "The token lacks a claim that is needed."},
		"no-sub":             {signed(with(accessClaims(), object{"sub": nil})), "The token lacks a claim that is needed."},
		"empty-sub":          {signed(with(accessClaims(), object{"sub": ""})), "The token lacks a claim that is needed."},
		"not-before":         {signed(with(accessClaims(), object{"nbf": epoch.Add(6 * time.Second).Unix()})), "The token is not valid yet."},
		"issued-in-future":   {signed(with(accessClaims(), object{"iat": epoch.Add(6 * time.Second).Unix()})), "The token is not valid yet."},
		"other-issuer":       {signed(with(accessClaims(), object{"iss": issuerURL + "2"})), "The token is from another issuer than this API trusts."},
		"no-issuer":          {signed(with(accessClaims(), object{"iss": nil})), "The token is from another issuer than this API trusts."},
		"access-of-client":   {signed(with(accessClaims(), object{"client_id": "evil"})), "The token is for another client than this API lets in."},
		"access-by-aud":      {signed(with(accessClaims(), object{"client_id": nil, "aud": "web"})), "The token is for another client than this API lets in."},
		"id-of-client":       {signed(with(idClaims(), object{"aud": "evil"})), "The token is for another client than this API lets in."},
		"id-by-client-id":    {signed(with(idClaims(), object{"aud": nil, "client_id": "web"})), "The token is for another client than this API lets in."},
		"id-as-access":       {signed(with(idClaims(), object{"token_use": "access"})), "The token does not name a user."},
		"refresh":            {signed(with(accessClaims(), object{"token_use": "refresh"})), "The token must be an access token or an ID token."},
		"no-cognito-no-aud":  {signed(with(accessClaims(), object{"token_use": nil})), "The token is for another client than this API lets in."},
		"sigv4-without-rest": {"AWS4-HMAC-SHA256", `Unsupported AWS 'algorithm': the Authorization header must begin with 'AWS4-HMAC-SHA256'.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := a.Authorize(t.Context(), bearer(tt.header))
			if err == nil {
				t.Fatalf("let in as %+v", got)
			}
			if e := presence.AsError(err); e.Code != presence.Unauthorized || e.Message != tt.want {
				t.Errorf("got %s %q, want Unauthorized %q", e.Code, e.Message, tt.want)
			}
		})
	}
	t.Run("api-key", func(t *testing.T) {
		t.Parallel()
		_, err := a.Authorize(t.Context(), wire.Credentials{Header: http.Header{"X-Api-Key": {"da2-x"}}})
		if e := presence.AsError(err); e.Code != presence.Unauthorized || e.Message != "You are not authorized to make this call." {
			t.Errorf("got %v", err)
		}
	})
}

func TestLeeway(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(t, is, newClock())
	for name, claims := range map[string]object{
		"just-expired": with(accessClaims(), object{"exp": epoch.Add(-4 * time.Second).Unix()}),
		"just-before":  with(accessClaims(), object{"nbf": epoch.Add(4 * time.Second).Unix(), "iat": epoch.Add(4 * time.Second).Unix()}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := a.Authorize(t.Context(), bearer(sign(t, claims, jwa.RS256, keyOne(), "one"))); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	c := newClock()
	a := newAuthorizer(t, is, c)
	one := bearer(sign(t, accessClaims(), jwa.RS256, keyOne(), "one"))
	two := bearer(sign(t, accessClaims(), jwa.RS256, keyTwo(), "two"))
	check := func(what string, creds wire.Credentials, want presence.Code, fetches int32) {
		t.Helper()
		var got presence.Code
		if _, err := a.Authorize(t.Context(), creds); err != nil {
			got = presence.AsError(err).Code
		}
		if got != want || is.fetches.Load() != fetches {
			t.Fatalf("%s: %q after %d fetches, want %q after %d", what, got, is.fetches.Load(), want, fetches)
		}
	}
	check("first token", one, "", 1)
	is.publish(t, map[string]*rsa.PrivateKey{"two": keyTwo()})
	check("unknown key, too soon to look again", two, presence.Unauthorized, 1)
	check("known key", one, "", 1)
	c.advance(6 * time.Second)
	check("unknown key, looked up", two, "", 2)
	check("withdrawn key", one, presence.Unauthorized, 2)
	is.away.Store(true)
	c.advance(6 * time.Second)
	check("unknown key, issuer away", one, presence.Unavailable, 3)
	check("unknown key, issuer away, not asked again", one, presence.Unavailable, 3)
	check("known key, issuer away", two, "", 3)
}

// An aged key set is renewed behind the caller's back, so a withdrawn key goes
// although nobody asks for another.
func TestWithdrawnKeyIsForgotten(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	c := newClock()
	a := newAuthorizer(t, is, c)
	one := bearer(sign(t, accessClaims(), jwa.RS256, keyOne(), "one"))
	if _, err := a.Authorize(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	is.publish(t, map[string]*rsa.PrivateKey{"two": keyTwo()})
	c.advance(16 * time.Minute)
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err := a.Authorize(t.Context(), one); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the withdrawn key is still trusted")
		}
	}
	if n := is.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestIssuerAway(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, nil)
	a := newAuthorizer(t, is, newClock())
	is.Close()
	_, err := a.Authorize(t.Context(), bearer(sign(t, accessClaims(), jwa.RS256, keyOne(), "one")))
	if e := presence.AsError(err); e.Code != presence.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}

func TestManyAtOnceFetchOnce(t *testing.T) {
	t.Parallel()
	is := newIssuer(t, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(t, is, newClock())
	one := bearer(sign(t, accessClaims(), jwa.RS256, keyOne(), "one"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := a.Authorize(t.Context(), one); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := is.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestNewRefusesNoURL(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]auth.Options{
		"no-issuer": {},
		"no-host":   {Issuer: "https://"},
		"ftp":       {Issuer: "ftp://x"},
		"bad-jwks":  {Issuer: "https://x", JWKSURL: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := auth.New(opts); err == nil || presence.AsError(err).Code != presence.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
}

// Whatever comes in the header, the answer is an identity whose token is one
// of ours, or a typed refusal.
func FuzzAuthorize(f *testing.F) {
	is := newIssuer(f, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(f, is, newClock())
	good := sign(f, accessClaims(), jwa.RS256, keyOne(), "one")
	ours := map[string]bool{good: true}
	for _, seed := range []string{
		"", "Bearer ", good, "Bearer " + good, good + ".", good[:len(good)-4], "..", "a.b.c",
		raw(`{"alg":"none","kid":"one"}`, accessClaims(), ""),
		raw(`{"alg":"RS256","kid":"one","crit":["x"],"x":1}`, accessClaims(), "AAAA"),
		raw(`{"alg":"RS256","kid":"two","jku":"http://127.0.0.1:1/"}`, accessClaims(), "AAAA"),
		"AWS4-HMAC-SHA256 Credential=AKLOCAL/20260102/us-east-1/appsync/aws4_request, SignedHeaders=host;x-amz-date, Signature=00",
		"AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := bearer(header)
		c.Header.Set("X-Amz-Date", "20260102T030405Z")
		id, err := a.Authorize(t.Context(), c)
		if err == nil {
			token := strings.TrimSpace(header)
			if _, rest, ok := strings.Cut(token, " "); ok {
				token = strings.TrimSpace(rest)
			}
			if !ours[token] {
				t.Fatalf("%q was let in as %+v", header, id)
			}
			return
		}
		if e := presence.AsError(err); e.Code != presence.Unauthorized || e.Message == "" {
			t.Fatalf("%q: %#v", header, err)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	is := newIssuer(b, map[string]*rsa.PrivateKey{"one": keyOne()})
	a := newAuthorizer(b, is, newClock())
	for name, c := range map[string]wire.Credentials{
		"jwt":   bearer(sign(b, accessClaims(), jwa.RS256, keyOne(), "one")),
		"sigv4": credentials(b, signed(b, nil)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authorize(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
