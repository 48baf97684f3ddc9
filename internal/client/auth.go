package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"presence"
)

// Authorize adds to r, a request with that body, what shows who is calling. A
// real-time connection and each of its subscriptions are authorized by a
// request too, one that stands for them and is never sent.
type Authorize func(r *http.Request, body []byte) error

// Token authorizes by a user pool's JWT.
func Token(token string) Authorize {
	return func(r *http.Request, _ []byte) error {
		r.Header.Set("Authorization", token)
		return nil
	}
}

// IAM authorizes by an AWS Signature Version 4.
func IAM(credentials aws.CredentialsProvider, region string) Authorize {
	signer := v4.NewSigner()
	return func(r *http.Request, body []byte) error {
		c, err := credentials.Retrieve(r.Context())
		if err != nil {
			return &presence.Error{Code: presence.Unauthorized, Message: "There are no AWS credentials to sign with", Err: err}
		}
		hash := sha256.Sum256(body)
		return signer.SignHTTP(r.Context(), c, r, hex.EncodeToString(hash[:]), "appsync", region, time.Now())
	}
}

// Local authorizes as any user of a local server, which gives tokens to
// whoever asks. It asks each time, so that neither an expired token nor a
// server that was started anew is noticed.
func Local(endpoint, userID string) Authorize {
	return func(r *http.Request, body []byte) error {
		token, err := LocalToken(r.Context(), endpoint, userID)
		if err != nil {
			return err
		}
		return Token(token)(r, body)
	}
}

// LocalToken returns a user's token from the local server at endpoint.
func LocalToken(ctx context.Context, endpoint, userID string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", presence.Errorf(presence.InvalidArgument, "The endpoint %q is not a URL.", endpoint)
	}
	issuer := u.Scheme + "://" + u.Host + "/token"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"?user="+url.QueryEscape(userID), nil)
	if err != nil {
		return "", presence.Errorf(presence.InvalidArgument, "The endpoint %q is not an http or https URL.", endpoint)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", unreachable(issuer+" (is the local server running?)", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", unreachable(issuer, err)
	case resp.StatusCode == http.StatusOK:
		return strings.TrimSpace(string(body)), nil
	case resp.StatusCode == http.StatusBadRequest:
		return "", presence.Errorf(presence.InvalidArgument, "%s", strings.TrimSpace(string(body)))
	}
	return "", presence.Errorf(presence.Unauthorized, "%s gives no tokens (%s); for any but the local server, show one you have, or AWS credentials.", issuer, resp.Status)
}
