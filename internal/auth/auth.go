// Package auth finds out who is calling, as AppSync does before it calls a
// resolver: by a JSON Web Token of a Cognito user pool or another OpenID
// Connect issuer, or by a Signature Version 4 of a known key pair.
package auth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"presence"
	"presence/internal/wire"
)

// service is what callers of AppSync sign for.
const service = "appsync"

// Options configures an [Authorizer].
type Options struct {
	// Issuer is the iss of the tokens let in: the base URL of the issuer. For a
	// user pool it is https://cognito-idp.REGION.amazonaws.com/POOL.
	Issuer string
	// JWKSURL is where the issuer's keys are. Empty means where Cognito has
	// them: Issuer + "/.well-known/jwks.json".
	JWKSURL string
	// ClientIDs are the app clients whose tokens are let in. None means all of
	// the issuer's, as for a user pool without a client filter in AppSync.
	ClientIDs []string
	// Keys are the key pairs IAM callers may sign with. None means no IAM.
	Keys Keys
	// AccountID is the account of IAM callers. Empty means 000000000000.
	AccountID string
	// HTTPClient fetches the keys. Nil means [http.DefaultClient].
	HTTPClient *http.Client
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
}

// Authorizer authenticates callers. It is safe for concurrent use.
type Authorizer struct {
	opts Options
	jwks *jwks
}

// New returns an Authorizer. It calls nobody: keys are fetched when the first
// token arrives. What is wrong in opts is an [presence.InvalidArgument].
func New(opts Options) (*Authorizer, error) {
	if opts.JWKSURL == "" {
		opts.JWKSURL = strings.TrimSuffix(opts.Issuer, "/") + "/.well-known/jwks.json"
	}
	for _, s := range []string{opts.Issuer, opts.JWKSURL} {
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, presence.Errorf(presence.InvalidArgument, "The token issuer and its key set must be http or https URLs, not %q.", s)
		}
	}
	if opts.AccountID == "" {
		opts.AccountID = "000000000000"
	}
	if opts.HTTPClient == nil {
		opts.HTTPClient = http.DefaultClient
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Authorizer{opts: opts, jwks: &jwks{url: opts.JWKSURL, client: opts.HTTPClient, now: opts.Now}}, nil
}

// Authorize returns the identity AppSync would pass to a resolver. Callers who
// are nobody are an [presence.Error] of code Unauthorized; where that cannot be
// told, because the issuer's keys are out of reach, of code Unavailable. Where
// AppSync's own sentence for a refusal is known, it is the message. The
// identity's SourceIP is left to the server, which knows the caller's address.
func (a *Authorizer) Authorize(ctx context.Context, c wire.Credentials) (*wire.Identity, error) {
	header := strings.TrimSpace(c.Header.Get("Authorization"))
	switch {
	case header == "" && c.Header.Get("X-Api-Key") != "":
		return nil, presence.Errorf(presence.Unauthorized, "You are not authorized to make this call.")
	case header == "":
		return nil, presence.Errorf(presence.Unauthorized, "Valid authorization header not provided.")
	case strings.HasPrefix(header, algorithm):
		return a.iam(c)
	}
	return a.user(ctx, header)
}

// CheckSignature checks what of a Signature Version 4 can be checked without the
// request's body, so that bodies of callers with an unknown key are not read.
func (a *Authorizer) CheckSignature(c wire.Credentials) error {
	return a.opts.Keys.CheckHeader(c, service, a.opts.Now())
}

func (a *Authorizer) iam(c wire.Credentials) (*wire.Identity, error) {
	key, err := a.opts.Keys.Verify(c, service, a.opts.Now())
	if err != nil {
		return nil, err
	}
	return &wire.Identity{
		AccountID: a.opts.AccountID,
		UserARN:   "arn:aws:iam::" + a.opts.AccountID + ":user/" + key,
		Username:  key,
	}, nil
}
