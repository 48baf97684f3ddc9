package auth

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"presence"
	"presence/internal/wire"
)

const (
	// leeway is how far the clocks of issuer and server may be apart.
	leeway = 5 * time.Second
	// maxToken bounds what is parsed before it is trusted; Cognito's tokens are
	// 1 to 2 KB.
	maxToken = 16 << 10
)

// claims are those a decision depends on, see "Verifying JSON web tokens" in
// the Cognito developer guide.
type claims map[string]any

// text returns the claim of exactly that name, empty if it is no string. A
// struct would also take "Sub" for "sub", and claims of other names may be the
// user's to set.
func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

func (c claims) groups() []string {
	list, _ := c["cognito:groups"].([]any)
	var groups []string
	for _, item := range list {
		if group, ok := item.(string); ok {
			groups = append(groups, group)
		}
	}
	return groups
}

// user authenticates by an access or an ID token, with or without "Bearer":
// AppSync takes both, and Amplify sends the access token bare.
func (a *Authorizer) user(ctx context.Context, header string) (*wire.Identity, error) {
	if scheme, rest, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		header = strings.TrimSpace(rest)
	}
	unparsable := presence.Errorf(presence.Unauthorized, "Unable to parse JWT token.")
	if len(header) > maxToken {
		return nil, unparsable
	}
	token := []byte(header)
	message, err := jws.Parse(token, jws.WithCompact())
	if err != nil || len(message.Signatures()) != 1 {
		return nil, unparsable
	}

	// The algorithm is ours to choose, never the token's: that leaves no room for
	// "none", nor for an HMAC keyed with the public key.
	protected := message.Signatures()[0].ProtectedHeaders()
	if protected.Algorithm() != jwa.RS256 {
		return nil, presence.Errorf(presence.Unauthorized, "The token must be signed with RS256.")
	}
	if protected.KeyID() == "" {
		return nil, presence.Errorf(presence.Unauthorized, "The token does not name the key it is signed with.")
	}
	key, err := a.jwks.key(ctx, protected.KeyID())
	if err != nil {
		return nil, err
	}
	payload, err := jws.Verify(token, jws.WithKey(jwa.RS256, key))
	if err != nil {
		return nil, presence.Errorf(presence.Unauthorized, "The token's signature is not valid.")
	}

	std := jwt.New()
	var own claims
	if json.Unmarshal(payload, std) != nil || json.Unmarshal(payload, &own) != nil {
		return nil, unparsable
	}
	err = jwt.Validate(std,
		jwt.WithIssuer(a.opts.Issuer),
		jwt.WithRequiredClaim(jwt.ExpirationKey),
		jwt.WithRequiredClaim(jwt.IssuedAtKey),
		jwt.WithRequiredClaim(jwt.SubjectKey),
		jwt.WithClock(jwt.ClockFunc(a.opts.Now)),
		jwt.WithAcceptableSkew(leeway))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired()):
		return nil, presence.Errorf(presence.Unauthorized, "Token has expired.")
	case errors.Is(err, jwt.ErrTokenNotYetValid()), errors.Is(err, jwt.ErrInvalidIssuedAt()):
		return nil, presence.Errorf(presence.Unauthorized, "The token is not valid yet.")
	case errors.Is(err, jwt.ErrInvalidIssuer()):
		return nil, presence.Errorf(presence.Unauthorized, "The token is from another issuer than this API trusts.")
	case err != nil, own.text("sub") == "":
		return nil, presence.Errorf(presence.Unauthorized, "The token lacks a claim that is needed.")
	}
	username, err := own.check(std.Audience(), a.opts.ClientIDs)
	if err != nil {
		return nil, err
	}
	return &wire.Identity{
		Sub:                 own.text("sub"),
		Issuer:              std.Issuer(),
		Username:            username,
		Claims:              payload,
		Groups:              own.groups(),
		DefaultAuthStrategy: "ALLOW",
	}, nil
}

// check holds the token against the clients let in and returns its user name.
// Which claim names the client, and which the user, depends on the kind of
// token.
func (c claims) check(audience, allowed []string) (username string, err error) {
	var clients []string
	switch c.text("token_use") {
	case "access":
		clients, username = []string{c.text("client_id")}, c.text("username")
	case "id":
		clients, username = audience, c.text("cognito:username")
	case "":
		// Not from Cognito, which always has a token_use: AppSync holds other
		// issuers' tokens by aud or azp.
		clients, username = append(audience, c.text("azp")), c.text("sub")
	default:
		return "", presence.Errorf(presence.Unauthorized, "The token must be an access token or an ID token.")
	}
	if username == "" {
		return "", presence.Errorf(presence.Unauthorized, "The token does not name a user.")
	}
	if len(allowed) > 0 && !slices.ContainsFunc(clients, func(id string) bool { return slices.Contains(allowed, id) }) {
		return "", presence.Errorf(presence.Unauthorized, "The token is for another client than this API lets in.")
	}
	return username, nil
}
