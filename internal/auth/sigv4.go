package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"

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
	// maxSignedHeaders bounds the work an unknown caller can ask for.
	maxSignedHeaders = 100
)

// Keys are key pairs: access key IDs to secret access keys.
type Keys map[string]string

// Verify checks the Signature Version 4 of a request to service, in any
// region, and returns the access key ID it is signed with. The error is a
// [presence.Unauthorized], and its cause a [wire.SignatureError].
//
// The headers that count are those the caller names as signed: host and the
// date have to be among them, and none is left out. The AWS SDK's own signer
// would leave out user-agent, expect and others, which some clients sign.
// Session tokens are not looked at: Amplify always sends one, and a local key
// pair has none.
//
// See "Signature Version 4 signing process" in the IAM user guide.
func (k Keys) Verify(c wire.Credentials, service string, now time.Time) (accessKeyID string, err error) {
	secret, err := k.check(c, service, now)
	if err != nil {
		return "", err
	}
	return secret.accessKeyID, k.compare(secret, c)
}

// CheckHeader checks all of a signature that does not need the request's body,
// so that a body is read for callers with a known key alone.
func (k Keys) CheckHeader(c wire.Credentials, service string, now time.Time) error {
	_, err := k.check(c, service, now)
	return err
}

func (k Keys) check(c wire.Credentials, service string, now time.Time) (signature, error) {
	sig, err := parse(c.Header)
	switch {
	case err != nil:
		return sig, err
	case k[sig.accessKeyID] == "":
		return sig, refused(wire.UnrecognizedClient, "The security token included in the request is invalid.")
	case sig.service != service:
		return sig, refused(wire.InvalidSignature, "Credential should be scoped to correct service: '"+service+"'.")
	case !slices.Contains(sig.headers, "host"):
		return sig, refused(wire.InvalidSignature, "'Host' must be a 'SignedHeader' in the AWS Authorization.")
	case !slices.Contains(sig.headers, sig.dated):
		return sig, refused(wire.InvalidSignature, "'"+sig.dated+"' must be a 'SignedHeader' in the AWS Authorization.")
	case sig.at.UTC().Format("20060102") != sig.date:
		return sig, refused(wire.InvalidSignature, "Date in Credential scope does not match the date of the request.")
	case now.Sub(sig.at).Abs() > maxSkew:
		return sig, refused(wire.InvalidSignature, "Signature expired: the request was signed more than 5 minutes ago or ahead. Check this machine's clock.")
	}
	for _, name := range sig.headers {
		if _, there := headerValues(c, name); !there {
			return sig, refused(wire.IncompleteSignature, "'"+name+"' is named as a SignedHeader, but it does not exist in the HTTP request.")
		}
	}
	return sig, nil
}

// compare computes the signature and compares in constant time.
func (k Keys) compare(sig signature, c wire.Credentials) error {
	canonical, ok := sig.canonicalRequest(c)
	if !ok {
		return refused(wire.InvalidSignature, "The request's query is malformed.")
	}
	scope := strings.Join([]string{sig.date, sig.region, sig.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, sig.at.UTC().Format(timeFormat), scope, hash(canonical)}, "\n")
	key := []byte("AWS4" + k[sig.accessKeyID])
	for _, part := range []string{sig.date, sig.region, sig.service, "aws4_request"} {
		key = mac(key, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac(key, toSign))), []byte(sig.hex)) {
		return refused(wire.InvalidSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func refused(t wire.SignatureError, message string) error {
	return &presence.Error{Code: presence.Unauthorized, Message: message, Err: t}
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signature is a parsed Authorization header, and when the request was signed.
type signature struct {
	accessKeyID, date, region, service string
	// headers are the names of the signed headers, as they were sent.
	headers []string
	hex     string

	at time.Time
	// dated is the name of the header that says when.
	dated string
}

// canonicalRequest returns what is signed. It returns false if the query cannot
// be parsed: what is left out of it would not be protected.
func (s signature) canonicalRequest(c wire.Credentials) (text string, ok bool) {
	query, err := url.ParseQuery(c.RawQuery)
	if err != nil {
		return "", false
	}
	for _, values := range query {
		slices.Sort(values)
	}
	path := c.Path
	if path == "" {
		path = "/"
	}
	var headers strings.Builder
	for _, name := range s.headers {
		values, _ := headerValues(c, name)
		trimmed := make([]string, len(values))
		for i, value := range values {
			trimmed[i] = strings.Join(strings.Fields(value), " ")
		}
		headers.WriteString(name + ":" + strings.Join(trimmed, ",") + "\n")
	}
	body := sha256.Sum256(c.Body)
	return strings.Join([]string{
		c.Method, httpbinding.EscapePath(path, false), strings.ReplaceAll(query.Encode(), "+", "%20"),
		headers.String(), strings.Join(s.headers, ";"), hex.EncodeToString(body[:]),
	}, "\n"), true
}

// headerValues returns a request's header by the name a signature has for it.
func headerValues(c wire.Credentials, name string) (values []string, there bool) {
	values, there = c.Header[textproto.CanonicalMIMEHeaderKey(name)]
	if !there && name == "content-length" {
		return []string{strconv.Itoa(len(c.Body))}, true
	}
	return values, there
}

// parse reads the headers of a signed request.
func parse(header http.Header) (signature, error) {
	authorization := header.Get("Authorization")
	rest, ok := strings.CutPrefix(strings.TrimSpace(authorization), algorithm+" ")
	if !ok {
		return signature{}, refused(wire.IncompleteSignature, "Unsupported AWS 'algorithm': the Authorization header must begin with '"+algorithm+"'.")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return signature{}, refused(wire.IncompleteSignature, "The Authorization header has a part that is not a valid key=value pair (missing equal-sign).")
		}
		fields[name] = value
	}
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[name] == "" {
			missing = append(missing, "Authorization header requires '"+name+"' parameter.")
		}
	}
	s := signature{hex: fields["Signature"], dated: "x-amz-date"}
	if header.Get(s.dated) == "" {
		s.dated = "date"
	}
	date := header.Get(s.dated)
	if date == "" {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if missing != nil {
		return signature{}, refused(wire.IncompleteSignature, strings.Join(missing, " "))
	}
	var err error
	if s.at, err = time.Parse(timeFormat, date); err != nil {
		if s.at, err = http.ParseTime(date); err != nil {
			return signature{}, refused(wire.IncompleteSignature, "Date must be in ISO-8601 'basic format': a time like 20060102T150405Z.")
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	s.headers = strings.Split(fields["SignedHeaders"], ";")
	if len(scope) != 5 || scope[4] != "aws4_request" || len(s.headers) > maxSignedHeaders {
		return signature{}, refused(wire.IncompleteSignature, "Credential must have exactly 5 slash-delimited elements, the last of them 'aws4_request', and SignedHeaders must name at most 100 headers.")
	}
	s.accessKeyID, s.date, s.region, s.service = scope[0], scope[1], scope[2], scope[3]
	return s, nil
}
