package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"presence"
	"presence/internal/client"
)

// api says which API to call, and as which caller.
type api struct {
	Endpoint string `default:"http://localhost:4000/graphql" placeholder:"URL" help:"GraphQL URL of the API (${default})."`
	Outputs  string `placeholder:"FILE" help:"Take the endpoint from what cdk deploy --outputs-file wrote."`
	Token    string `xor:"as" help:"User-pool token to call with. Without it and --iam, the local server is asked for one."`
	IAM      bool   `name:"iam" xor:"as" help:"Sign with the AWS credentials of the environment. May read, but is no user."`
}

// client returns a client of the API that calls, where nothing else is said,
// as a user of the local server.
func (a api) client(ctx context.Context, userID string) (*client.Client, error) {
	if a.Outputs != "" {
		endpoint, err := endpointIn(a.Outputs)
		if err != nil {
			return nil, err
		}
		a.Endpoint = endpoint
	}
	opts := client.Options{Endpoint: a.Endpoint}
	switch {
	case a.IAM:
		region := client.Region(a.Endpoint)
		// What the SDK would log of its search comes back as the error.
		cfg, err := config.LoadDefaultConfig(ctx, config.WithDefaultRegion("us-east-1"), config.WithLogger(logging.Nop{}))
		if err != nil {
			return nil, &presence.Error{Code: presence.InvalidArgument, Message: "The AWS environment cannot be used", Err: err}
		}
		if region == "" {
			region = cfg.Region
		}
		opts.Authorize = client.IAM(cfg.Credentials, region)
	case a.Token != "":
		opts.Authorize = client.Token(a.Token)
	default:
		opts.Authorize = client.Local(a.Endpoint, userID)
	}
	return client.New(opts)
}

// reader is who watch and status call as on the local server: reading is
// anybody's right, and makes nobody online.
const reader = "reader"

// endpointIn returns the GraphQL endpoint among a file of stack outputs.
func endpointIn(file string) (string, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return "", err
	}
	var stacks map[string]map[string]string
	if err := json.Unmarshal(b, &stacks); err != nil {
		return "", &presence.Error{Code: presence.InvalidArgument, Message: file + " is not a CDK outputs file", Err: err}
	}
	found := ""
	for _, outputs := range stacks {
		for _, value := range outputs {
			if strings.HasPrefix(value, "https://") && strings.HasSuffix(value, "/graphql") {
				if found != "" && found != value {
					return "", presence.Errorf(presence.InvalidArgument, "%s has more than one GraphQL endpoint: name one with --endpoint.", file)
				}
				found = value
			}
		}
	}
	if found == "" {
		return "", presence.Errorf(presence.InvalidArgument, "%s has no GraphQL endpoint (https://…/graphql).", file)
	}
	return found, nil
}
