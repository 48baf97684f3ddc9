package auth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"golang.org/x/sync/singleflight"

	"presence"
)

const (
	// jwksPause is how long after one fetch the next may follow. It keeps tokens
	// with made-up key ids from becoming a flood of requests to the issuer.
	jwksPause = 5 * time.Second
	// jwksAge is how long keys are used before they are looked up again, so that
	// a key the issuer withdraws is not trusted for ever.
	jwksAge = 15 * time.Minute
	// jwksTimeout bounds one fetch.
	jwksTimeout = 2 * time.Second
	maxJWKS     = 1 << 20
)

// jwks is the issuer's key set. It is not a jwk.Cache because that neither
// looks again for a key it does not know nor stops its goroutines.
type jwks struct {
	url    string
	client *http.Client
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	keys    jwk.Set   // nil until a fetch has succeeded
	fetched time.Time // when keys were
	tried   time.Time // when the last fetch began
	err     error     // of the last fetch
}

// key returns the RSA key kid. A key that is known is returned at once; where
// it has aged, the set is fetched in the background, and while the issuer is
// away the known keys stay good.
func (j *jwks) key(ctx context.Context, kid string) (jwk.Key, error) {
	if key, ok := j.known(kid); ok {
		return key, nil
	}
	select {
	case <-j.fetch():
	case <-ctx.Done():
		return nil, unreachable(ctx.Err())
	}
	if key, ok := j.known(kid); ok {
		return key, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return nil, unreachable(j.err)
	}
	return nil, presence.Errorf(presence.Unauthorized, "The token is signed with a key its issuer does not have.")
}

func unreachable(cause error) error {
	return &presence.Error{Code: presence.Unavailable, Message: "The token issuer's keys are out of reach. Try again.", Err: fmt.Errorf("auth: jwks: %w", cause)}
}

func (j *jwks) known(kid string) (jwk.Key, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keys == nil {
		return nil, false
	}
	key, ok := j.keys.LookupKeyID(kid)
	if !ok || key.KeyType() != "RSA" || key.KeyUsage() == "enc" {
		return nil, false
	}
	if j.now().Sub(j.fetched) > jwksAge {
		j.fetch()
	}
	return key, true
}

// fetch starts a fetch, or joins the one under way, unless the last is too
// recent. It outlives the caller, for others wait on it too.
func (j *jwks) fetch() <-chan singleflight.Result {
	return j.flight.DoChan("", func() (any, error) {
		j.mu.Lock()
		recent := !j.tried.IsZero() && j.now().Sub(j.tried) < jwksPause
		if !recent {
			j.tried = j.now()
		}
		j.mu.Unlock()
		if recent {
			return nil, nil
		}
		keys, err := j.get()
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.err = err; err == nil {
			j.keys, j.fetched = keys, j.now()
		}
		return nil, nil
	})
}

func (j *jwks) get() (jwk.Set, error) {
	ctx, cancel := context.WithTimeout(context.Background(), jwksTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", j.url, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxJWKS))
	if err != nil {
		return nil, err
	}
	// Keys of kinds we do not know must not hide the ones we do.
	return jwk.Parse(body, jwk.WithIgnoreParseError(true))
}
