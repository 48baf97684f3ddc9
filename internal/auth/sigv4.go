package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"presence"
	"presence/internal/wire"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	// maxSkew is how old a signature may be, or how far ahead, as in AWS. Within
	// it a signed request can be sent again, in AWS as here: what signatures
	// protect from is change, TLS is what protects from listening.
	maxSkew    = 5 * time.Minute
	timeFormat = "20060102T150405Z"
)

// Keys are key pairs: access key IDs to secret access keys.
type Keys map[string]string

// Verify checks the Signature Version 4 of a request to service, in any
// region, and returns the access key ID it is signed with. It signs the
// request again with the AWS SDK's signer and compares. The error is a
// [presence.Unauthorized].
//
// A request must have its host and X-Amz-Date signed; other headers are
// protected only if the caller signed them. Session tokens are not looked at:
// Amplify always sends one, and a local key pair has none.
func (k Keys) Verify(c wire.Credentials, service string, now time.Time) (accessKeyID string, err error) {
	sig, err := parse(c.Header.Get("Authorization"))
	if err != nil {
		return "", err
	}
	if sig.service != service {
		return "", presence.Errorf(presence.Unauthorized, "The request must be signed for the service %s.", service)
	}
	date := c.Header.Get("X-Amz-Date")
	at, err := time.Parse(timeFormat, date)
	if err != nil || !strings.HasPrefix(date, sig.date) {
		return "", presence.Errorf(presence.Unauthorized, "The X-Amz-Date header must be a time like 20060102T150405Z on the date of the credential.")
	}
	if now.Sub(at).Abs() > maxSkew {
		return "", presence.Errorf(presence.Unauthorized, "Signature expired: the request was signed more than 5 minutes ago or ahead. Check this machine's clock.")
	}

	req := &http.Request{
		Method: c.Method,
		Host:   c.Header.Get("Host"),
		URL:    &url.URL{Scheme: "https", Opaque: "//" + c.Header.Get("Host") + c.Path, RawQuery: c.RawQuery},
		Header: http.Header{},
	}
	// The signer leaves out of the query what does not parse, so it would not
	// notice such a part being added.
	if _, err := url.ParseQuery(c.RawQuery); err != nil {
		return "", presence.Errorf(presence.Unauthorized, "The request's query is malformed.")
	}
	for _, name := range sig.headers {
		switch name {
		case "host":
		case "content-length":
			req.ContentLength = int64(len(c.Body))
		default:
			name = textproto.CanonicalMIMEHeaderKey(name)
			req.Header[name] = slices.Clone(c.Header[name])
		}
	}
	secret, known := k[sig.accessKeyID]
	hash := sha256.Sum256(c.Body)
	// A signer caches what it derives for each region, and the region is the
	// caller's word: one signer for all would grow without bound.
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: sig.accessKeyID, SecretAccessKey: secret}, req,
		hex.EncodeToString(hash[:]), service, sig.region, at)
	if err != nil {
		return "", presence.Errorf(presence.Unauthorized, "The request can not be signed: %v.", err)
	}
	same := subtle.ConstantTimeCompare([]byte(req.Header.Get("Authorization")), []byte(sig.String())) == 1
	switch {
	case !known || secret == "":
		return "", presence.Errorf(presence.Unauthorized, "The security token included in the request is invalid.")
	case !same:
		return "", presence.Errorf(presence.Unauthorized, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return sig.accessKeyID, nil
}

// signature is a parsed Authorization header.
type signature struct {
	accessKeyID, date, region, service string
	headers                            []string
	hex                                string
}

// String formats s as the SDK's signer does.
func (s signature) String() string {
	scope := strings.Join([]string{s.accessKeyID, s.date, s.region, s.service, "aws4_request"}, "/")
	return algorithm + " Credential=" + scope + ", SignedHeaders=" + strings.Join(s.headers, ";") + ", Signature=" + s.hex
}

func parse(header string) (signature, error) {
	malformed := presence.Errorf(presence.Unauthorized, "The Authorization header must be %q with Credential, SignedHeaders (host and x-amz-date among them) and Signature.", algorithm)
	rest, ok := strings.CutPrefix(strings.TrimSpace(header), algorithm+" ")
	if !ok {
		return signature{}, malformed
	}
	var s signature
	var scope []string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			scope = strings.Split(value, "/")
		case "SignedHeaders":
			s.headers = strings.Split(value, ";")
		case "Signature":
			s.hex = value
		default:
			return signature{}, malformed
		}
	}
	if len(scope) != 5 || scope[4] != "aws4_request" || len(scope[1]) != len("20060102") || s.hex == "" ||
		!slices.Contains(s.headers, "host") || !slices.Contains(s.headers, "x-amz-date") {
		return signature{}, malformed
	}
	s.accessKeyID, s.date, s.region, s.service = scope[0], scope[1], scope[2], scope[3]
	return s, nil
}
