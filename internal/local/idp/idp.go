// Package idp is a token issuer for a laptop: it makes the tokens a Cognito
// user pool would, for whoever asks from this machine.
package idp

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"presence"
)

// The paths an [Issuer] answers.
const (
	TokenPath = "/token"
	JWKSPath  = "/.well-known/jwks.json"
)

const (
	defaultTTL = time.Hour
	maxTTL     = 24 * time.Hour // as long as a user pool allows
)

// Options configures an [Issuer].
type Options struct {
	// URL is the iss of the tokens: the base URL the Issuer is served under.
	URL string
	// ClientID is the app client the tokens are for.
	ClientID string
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
}

// Issuer issues tokens, signed with a key that lives as long as it does. It is
// safe for concurrent use, and an [http.Handler]:
//
//	GET /token?user=USER            an access token for USER, as plain text;
//	                                use=id for an ID token, ttl=10m for another lifetime
//	GET /.well-known/jwks.json      the public key
//
// Whoever gets a token is that user, so tokens are given only to callers on
// this machine that address it as such. The public key is for everybody.
type Issuer struct {
	opts Options
	key  jwk.Key
	jwks []byte
	mux  http.ServeMux
}

// New returns an Issuer with a new key.
func New(opts Options) (*Issuer, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	raw, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	key, err := jwk.FromRaw(raw)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	set := jwk.NewSet()
	kid := uuid.NewString()
	if err := errors.Join(
		key.Set(jwk.KeyIDKey, kid), public.Set(jwk.KeyIDKey, kid),
		public.Set(jwk.AlgorithmKey, jwa.RS256), public.Set(jwk.KeyUsageKey, jwk.ForSignature),
		set.AddKey(public),
	); err != nil {
		return nil, err
	}
	i := &Issuer{opts: opts, key: key}
	if i.jwks, err = json.Marshal(set); err != nil {
		return nil, err
	}
	i.mux.HandleFunc("GET "+TokenPath, i.serveToken)
	i.mux.HandleFunc("GET "+JWKSPath, i.serveJWKS)
	return i, nil
}

// URL returns the iss of the tokens.
func (i *Issuer) URL() string { return i.opts.URL }

// ClientID returns the app client the tokens are for.
func (i *Issuer) ClientID() string { return i.opts.ClientID }

// Token is what a token is to say.
type Token struct {
	// User is its username and its sub: 1 to 128 bytes without control
	// characters, Cognito's limits.
	User string
	// Use is "access" or "id". Empty means access.
	Use string
	// TTL is how long it is valid, at most 24 h. Zero means 1 h.
	TTL time.Duration
	// Groups are the user's groups.
	Groups []string
}

// Sign returns the signed token with the claims Cognito would give it. What is
// wrong in t is an [presence.InvalidArgument].
func (i *Issuer) Sign(t Token) (string, error) {
	if t.TTL == 0 {
		t.TTL = defaultTTL
	}
	switch {
	case t.User == "" || len(t.User) > 128 || !utf8.ValidString(t.User) || strings.ContainsFunc(t.User, unicode.IsControl):
		return "", presence.Errorf(presence.InvalidArgument, "The user must be 1 to 128 bytes of text without control characters.")
	case t.TTL < time.Second || t.TTL > maxTTL:
		return "", presence.Errorf(presence.InvalidArgument, "The token's lifetime (%v) must be from 1s to %v.", t.TTL, maxTTL)
	}
	now := i.opts.Now()
	b := jwt.NewBuilder().
		Issuer(i.opts.URL).Subject(t.User).JwtID(uuid.NewString()).
		IssuedAt(now).Expiration(now.Add(t.TTL)).
		Claim("auth_time", now.Unix()).
		Claim("origin_jti", uuid.NewString()).
		Claim("event_id", uuid.NewString())
	if len(t.Groups) > 0 {
		b.Claim("cognito:groups", t.Groups)
	}
	switch t.Use {
	case "", "access":
		b.Claim("token_use", "access").Claim("client_id", i.opts.ClientID).
			Claim("username", t.User).Claim("scope", "aws.cognito.signin.user.admin")
	case "id":
		b.Claim("token_use", "id").Claim("aud", i.opts.ClientID).Claim("cognito:username", t.User)
	default:
		return "", presence.Errorf(presence.InvalidArgument, "A token is for the use access or id, not %q.", t.Use)
	}
	token, err := b.Build()
	if err != nil {
		return "", err
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.RS256, i.key))
	return string(signed), err
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

func (i *Issuer) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(i.jwks)
}

func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Add("Vary", "Origin")
	if !local(r) {
		http.Error(w, "Tokens are given only to callers on this machine that address it as localhost.", http.StatusForbidden)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	q := r.URL.Query()
	t := Token{User: q.Get("user"), Use: q.Get("use")}
	if ttl := q.Get("ttl"); ttl != "" {
		var err error
		if t.TTL, err = time.ParseDuration(ttl); err != nil || t.TTL == 0 {
			http.Error(w, "The ttl must be a duration like 10m.", http.StatusBadRequest)
			return
		}
	}
	token, err := i.Sign(t)
	if err != nil {
		e := presence.AsError(err)
		status := http.StatusInternalServerError
		if e.Code == presence.InvalidArgument {
			status = http.StatusBadRequest
		}
		http.Error(w, e.Message, status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, token)
}

// proxyHeaders are what proxies and tunnels add to what they pass on.
var proxyHeaders = []string{
	"Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server",
	"X-Original-Host", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray", "Fly-Client-Ip", "X-Envoy-External-Address",
}

// local tells whether r comes from this machine and was meant for it. The
// address alone is not enough: a web page may have its own name resolve to
// 127.0.0.1 and read the answer as its own (DNS rebinding); the Host header
// then has that name. A proxy or tunnel on this machine makes all the world
// local, but says so. And a page of another origin has no business here.
func local(r *http.Request) bool {
	for _, name := range proxyHeaders {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !loopbackHost(r.Host) {
		return false
	}
	if r.Header.Get("Origin") == "" {
		return r.Header.Get("Sec-Fetch-Site") != "cross-site"
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && loopbackHost(origin.Host)
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
