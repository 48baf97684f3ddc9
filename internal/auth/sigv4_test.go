package auth_test

import (
	"cmp"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	gocmp "github.com/google/go-cmp/cmp"

	"presence"
	"presence/internal/wire"
)

const body = `{"query":"mutation { connected(userId: \"a\") { userId } }"}`

type signing struct {
	service, region string
	creds           aws.Credentials
	at              time.Time
	target          string
	header          map[string]string
}

// signed returns a POST of body, signed by the SDK.
func signed(t testing.TB, change func(*signing)) *http.Request {
	t.Helper()
	s := signing{
		service: "appsync", region: "us-east-1", at: epoch, target: "http://localhost:4000/graphql?a=1&b=x%20y",
		creds:  aws.Credentials{AccessKeyID: "AKLOCAL", SecretAccessKey: "secret", SessionToken: "session"},
		header: map[string]string{"Content-Type": "application/json; charset=UTF-8", "Content-Encoding": "amz-1.0"},
	}
	if change != nil {
		change(&s)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range s.header {
		r.Header.Set(k, v)
	}
	hash := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), s.creds, r, hex.EncodeToString(hash[:]), s.service, s.region, s.at); err != nil {
		t.Fatal(err)
	}
	return r
}

// credentials is what a server makes of r.
func credentials(t testing.TB, r *http.Request) wire.Credentials {
	t.Helper()
	c := wire.Credentials{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header.Clone()}
	c.Header.Set("Host", r.Host)
	var err error
	if c.Body, err = io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIAMIdentity(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, newIssuer(t, map[string]*rsa.PrivateKey{}), newClock())
	for name, change := range map[string]func(*signing){
		"session-token":  nil,
		"key-pair":       func(s *signing) { s.creds.SessionToken = "" },
		"other-region":   func(s *signing) { s.region = "eu-central-1" },
		"escaped-path":   func(s *signing) { s.target = "http://localhost:4000/a%20b/graphql" },
		"clock-behind":   func(s *signing) { s.at = epoch.Add(-299 * time.Second) },
		"clock-ahead":    func(s *signing) { s.at = epoch.Add(299 * time.Second) },
		"no-own-headers": func(s *signing) { s.header = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := a.Authorize(t.Context(), credentials(t, signed(t, change)))
			if err != nil {
				t.Fatal(err)
			}
			want := &wire.Identity{AccountID: "000000000000", UserARN: "arn:aws:iam::000000000000:user/AKLOCAL", Username: "AKLOCAL"}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Mode() != wire.ModeIAM {
				t.Errorf("mode %q", got.Mode())
			}
		})
	}
}

// As in AWS, a request may be sent again while its signature is fresh; nobody
// can change it, and nobody can keep it.
func TestReplay(t *testing.T) {
	t.Parallel()
	c := newClock()
	a := newAuthorizer(t, newIssuer(t, map[string]*rsa.PrivateKey{}), c)
	request := credentials(t, signed(t, nil))
	for range 2 {
		if _, err := a.Authorize(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		c.advance(5 * time.Minute)
	}
	c.advance(time.Second)
	if _, err := a.Authorize(t.Context(), request); presence.AsError(err).Code != presence.Unauthorized {
		t.Errorf("got %v, want Unauthorized", err)
	}
}

// Trial B4: a signature is over the headers it names, those too that the AWS SDK
// for Go never signs, such as user-agent (botocore and others do).
func TestB4SignedHeaders(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, newIssuer(t, map[string]*rsa.PrivateKey{}), newClock())
	mac := func(key, data string) string {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(data))
		return string(h.Sum(nil))
	}
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	const scope, body = "20260102/us-west-2/appsync/aws4_request", `{"query":"{__typename}"}`
	for name, signedAs := range map[string]struct {
		header http.Header
		names  string
	}{
		"user-agent":     {http.Header{"User-Agent": {"botocore/1.40"}, "X-Amz-Date": {"20260102T030405Z"}}, "host;user-agent;x-amz-date"},
		"never-signed":   {http.Header{"Expect": {"100-continue"}, "X-Amzn-Trace-Id": {"Root=1"}, "X-Amz-Date": {"20260102T030405Z"}}, "expect;host;x-amz-date;x-amzn-trace-id"},
		"folded":         {http.Header{"User-Agent": {"  two   words "}, "X-Amz-Date": {"20260102T030405Z"}}, "host;user-agent;x-amz-date"},
		"twice":          {http.Header{"X-Two": {"a", " b"}, "X-Amz-Date": {"20260102T030405Z"}}, "host;x-amz-date;x-two"},
		"empty":          {http.Header{"X-Empty": {""}, "X-Amz-Date": {"20260102T030405Z"}}, "host;x-amz-date;x-empty"},
		"content-length": {http.Header{"X-Amz-Date": {"20260102T030405Z"}}, "content-length;host;x-amz-date"},
		"date":           {http.Header{"Date": {"Fri, 02 Jan 2026 03:04:05 GMT"}}, "date;host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := wire.Credentials{Method: "POST", Path: "/graphql", Body: []byte(body), Header: signedAs.header}
			c.Header.Set("Host", "localhost:4000")
			var canonical strings.Builder
			canonical.WriteString("POST\n/graphql\n\n")
			for name := range strings.SplitSeq(signedAs.names, ";") {
				value := map[string]string{"folded": "two words", "twice": "a,b", "content-length": "24"}[t.Name()[strings.LastIndex(t.Name(), "/")+1:]]
				if value == "" || name == "host" || strings.HasSuffix(name, "date") {
					value = c.Header.Get(name)
				}
				canonical.WriteString(name + ":" + value + "\n")
			}
			canonical.WriteString("\n" + signedAs.names + "\n" + hash(body))
			key := mac(mac(mac(mac("AWS4secret", "20260102"), "us-west-2"), "appsync"), "aws4_request")
			sig := hex.EncodeToString([]byte(mac(key, "AWS4-HMAC-SHA256\n20260102T030405Z\n"+scope+"\n"+hash(canonical.String()))))
			c.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKLOCAL/"+scope+", SignedHeaders="+signedAs.names+", Signature="+sig)
			if _, err := a.Authorize(t.Context(), c); err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.Header.Get("User-Agent") != "" {
				c.Header.Set("User-Agent", "changed")
				if _, err := a.Authorize(t.Context(), c); !errors.Is(err, wire.InvalidSignature) {
					t.Errorf("a changed user-agent: %v", err)
				}
			}
		})
	}
}

// Amplify signs other headers than the SDK, without content-length, and writes
// no spaces after commas in some versions. Here the signature is computed from
// the description of Signature Version 4, independently of the SDK.
func TestForeignSigner(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, newIssuer(t, map[string]*rsa.PrivateKey{}), newClock())
	mac := func(key, data string) string {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(data))
		return string(h.Sum(nil))
	}
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	const names, scope = "accept;content-type;host;x-amz-date;x-amz-security-token", "20260102/us-west-2/appsync/aws4_request"
	canonical := "POST\n/graphql/connect\n\naccept:application/json, text/javascript\ncontent-type:application/json; charset=UTF-8\n" +
		"host:localhost:4000\nx-amz-date:20260102T030405Z\nx-amz-security-token:tok\n\n" + names + "\n" + hash("{}")
	key := mac(mac(mac(mac("AWS4secret", "20260102"), "us-west-2"), "appsync"), "aws4_request")
	sig := hex.EncodeToString([]byte(mac(key, "AWS4-HMAC-SHA256\n20260102T030405Z\n"+scope+"\n"+hash(canonical))))
	for name, comma := range map[string]string{"spaces": ", ", "no-spaces": ","} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := wire.Credentials{Method: "POST", Path: "/graphql/connect", Body: []byte("{}"), Header: http.Header{
				"Accept": {"application/json, text/javascript"}, "Content-Type": {"application/json; charset=UTF-8"},
				"Host": {"localhost:4000"}, "X-Amz-Date": {"20260102T030405Z"}, "X-Amz-Security-Token": {"tok"},
				"X-Amz-User-Agent": {"added after signing"},
				"Authorization":    {"AWS4-HMAC-SHA256 Credential=AKLOCAL/" + scope + comma + "SignedHeaders=" + names + comma + "Signature=" + sig},
			}}
			if _, err := a.Authorize(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignaturesRefused(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, newIssuer(t, map[string]*rsa.PrivateKey{}), newClock())
	const mismatch = "The request signature we calculated does not match"
	replace := func(c *wire.Credentials, old, new string) {
		c.Header.Set("Authorization", strings.Replace(c.Header.Get("Authorization"), old, new, 1))
	}
	for name, tt := range map[string]struct {
		sign   func(*signing)
		tamper func(*wire.Credentials)
		want   string
		// as is the type; InvalidSignature if it is empty.
		as wire.SignatureError
	}{
		"body":              {tamper: func(c *wire.Credentials) { c.Body = append(c.Body, ' ') }, want: mismatch},
		"no-body":           {tamper: func(c *wire.Credentials) { c.Body = nil }, want: mismatch},
		"method":            {tamper: func(c *wire.Credentials) { c.Method = "GET" }, want: mismatch},
		"path":              {tamper: func(c *wire.Credentials) { c.Path = "/graphql/connect" }, want: mismatch},
		"query":             {tamper: func(c *wire.Credentials) { c.RawQuery = "a=2&b=x%20y" }, want: mismatch},
		"query-more":        {tamper: func(c *wire.Credentials) { c.RawQuery += "&c=1" }, want: mismatch},
		"query-malformed":   {tamper: func(c *wire.Credentials) { c.RawQuery += "&c;d=1" }, want: "The request's query is malformed."},
		"host":              {tamper: func(c *wire.Credentials) { c.Header.Set("Host", "evil:4000") }, want: mismatch},
		"header":            {tamper: func(c *wire.Credentials) { c.Header.Set("Content-Type", "text/plain") }, want: mismatch},
		"header-twice":      {tamper: func(c *wire.Credentials) { c.Header.Add("Content-Type", "text/plain") }, want: mismatch},
		"header-gone":       {tamper: func(c *wire.Credentials) { c.Header.Del("Content-Encoding") }, want: "'content-encoding' is named as a SignedHeader, but it does not exist in the HTTP request.", as: wire.IncompleteSignature},
		"session-token":     {tamper: func(c *wire.Credentials) { c.Header.Set("X-Amz-Security-Token", "x") }, want: mismatch},
		"date":              {tamper: func(c *wire.Credentials) { c.Header.Set("X-Amz-Date", "20260102T030406Z") }, want: mismatch},
		"date-other-day":    {tamper: func(c *wire.Credentials) { c.Header.Set("X-Amz-Date", "20260103T030405Z") }, want: "Date in Credential scope"},
		"date-gone":         {tamper: func(c *wire.Credentials) { c.Header.Del("X-Amz-Date") }, want: "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.", as: wire.IncompleteSignature},
		"region":            {tamper: func(c *wire.Credentials) { replace(c, "us-east-1", "us-east-2") }, want: mismatch},
		"host-not-signed":   {tamper: func(c *wire.Credentials) { replace(c, "host;", "") }, want: "'Host' must be a 'SignedHeader'"},
		"date-not-signed":   {tamper: func(c *wire.Credentials) { replace(c, ";x-amz-date", "") }, want: "'x-amz-date' must be a 'SignedHeader'"},
		"header-not-signed": {tamper: func(c *wire.Credentials) { replace(c, "content-type;", "") }, want: mismatch},
		"no-signature":      {tamper: func(c *wire.Credentials) { replace(c, "Signature=", "Signature=, X=") }, want: "Authorization header requires 'Signature' parameter.", as: wire.IncompleteSignature},
		"cut-scope":         {tamper: func(c *wire.Credentials) { replace(c, "/aws4_request", "") }, want: "Credential must have exactly 5", as: wire.IncompleteSignature},
		"signature-v2":      {tamper: func(c *wire.Credentials) { replace(c, "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256-X ") }, want: "Unsupported AWS 'algorithm'", as: wire.IncompleteSignature},
		"replay-later":      {sign: func(s *signing) { s.at = epoch.Add(-301 * time.Second) }, want: "Signature expired"},
		"signed-ahead":      {sign: func(s *signing) { s.at = epoch.Add(301 * time.Second) }, want: "Signature expired"},
		"other-secret":      {sign: func(s *signing) { s.creds.SecretAccessKey = "x" }, want: mismatch},
		"unknown-key":       {sign: func(s *signing) { s.creds.AccessKeyID = "AKEVIL" }, want: "The security token included in the request is invalid.", as: wire.UnrecognizedClient},
		"unknown-key-empty": {sign: func(s *signing) { s.creds = aws.Credentials{AccessKeyID: "AKEVIL"} }, want: "The security token included in the request is invalid.", as: wire.UnrecognizedClient},
		"other-service":     {sign: func(s *signing) { s.service = "events" }, want: "Credential should be scoped to correct service: 'appsync'."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := credentials(t, signed(t, tt.sign))
			if tt.tamper != nil {
				tt.tamper(&c)
			}
			id, err := a.Authorize(t.Context(), c)
			if err == nil {
				t.Fatalf("let in as %+v", id)
			}
			if e := presence.AsError(err); e.Code != presence.Unauthorized || !strings.HasPrefix(e.Message, tt.want) {
				t.Errorf("got %s %q, want Unauthorized %q", e.Code, e.Message, tt.want)
			}
			if want := cmp.Or(tt.as, wire.InvalidSignature); !errors.Is(err, want) {
				t.Errorf("the type is not %s", want)
			}
		})
	}
}
