package eventbridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"presence/internal/announce"
	"presence/internal/wire"
)

// AppSync is a GraphQL API that rules target, and who calls it.
type AppSync struct {
	// Endpoint is the URL of the API, Region where it is.
	Endpoint, Region string
	// Credentials sign the calls, in place of the role a rule has in AWS.
	Credentials aws.Credentials
	// HTTPClient makes the calls. Nil means [http.DefaultClient].
	HTTPClient *http.Client
	// Logger takes GraphQL errors. Nil means [slog.Default].
	Logger *slog.Logger
}

// Announce returns the rules that are deployed, on the given bus.
func (a AppSync) Announce(bus string) []Rule {
	var rules []Rule
	for _, r := range announce.Rules() {
		rules = append(rules, Rule{
			Name: "announce-" + r.Field, Bus: bus, Pattern: r.Pattern(),
			InputPaths: r.InputPaths(), InputTemplate: r.InputTemplate(),
			Target: a.Target(r.Operation()),
		})
	}
	return rules
}

// Target returns the target that runs a GraphQL operation with its input as
// the variables. AppSync answers errors of GraphQL with status 200, so like
// EventBridge, as far as is known, it counts them as delivered: they are logged
// and the outbox publishes again. Throttling and an API that is away are worth
// another try, a refusal is not.
func (a AppSync) Target(operation string) Target {
	if a.HTTPClient == nil {
		a.HTTPClient = http.DefaultClient
	}
	if a.Logger == nil {
		a.Logger = slog.Default()
	}
	signer := v4.NewSigner()
	return func(ctx context.Context, input []byte) error {
		body, err := json.Marshal(map[string]any{"query": operation, "variables": json.RawMessage(input)})
		if err != nil {
			return Permanent{fmt.Errorf("the input is no JSON: %w", err)}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Endpoint, bytes.NewReader(body))
		if err != nil {
			return Permanent{err}
		}
		req.Header.Set("Content-Type", "application/json")
		hash := sha256.Sum256(body)
		if err := signer.SignHTTP(ctx, a.Credentials, req, hex.EncodeToString(hash[:]), "appsync", a.Region, time.Now()); err != nil {
			return Permanent{err}
		}
		res, err := a.HTTPClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		switch {
		case err != nil:
			return err
		case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
			return fmt.Errorf("appsync answered %s", res.Status)
		case res.StatusCode != http.StatusOK:
			return Permanent{fmt.Errorf("appsync answered %s", res.Status)}
		}
		var result struct{ Errors []wire.Error }
		if err := json.Unmarshal(answer, &result); err != nil {
			a.Logger.Error("appsync answered what is no JSON")
		}
		for _, e := range result.Errors {
			a.Logger.Error("appsync answered an error", "errorType", e.ErrorType, "message", e.Message)
		}
		return nil
	}
}
