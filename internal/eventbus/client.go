package eventbus

import (
	"context"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"presence"
)

// Client returns a client configured by the variables a Lambda function has in
// its environment: AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_SESSION_TOKEN, and AWS_ENDPOINT_URL_EVENTBRIDGE or AWS_ENDPOINT_URL for
// another EventBridge than AWS's. The SDK's config package would look in files,
// instance metadata and single sign-on too, which makes the binary larger and
// its start slower for places a Lambda function does not have.
//
// What is missing is an [presence.InvalidArgument].
func Client(getenv func(string) string) (*eventbridge.Client, error) {
	creds := aws.Credentials{
		AccessKeyID:     getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    getenv("AWS_SESSION_TOKEN"),
		Source:          "environment",
	}
	opts := eventbridge.Options{
		Region: getenv("AWS_REGION"),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return creds, nil
		}),
		HTTPClient: awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = time.Second }),
	}
	switch {
	case opts.Region == "":
		return nil, presence.Errorf(presence.InvalidArgument, "AWS_REGION is not set.")
	case !creds.HasKeys():
		return nil, presence.Errorf(presence.InvalidArgument, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set.")
	}
	for _, name := range []string{"AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL"} {
		if url := getenv(name); url != "" {
			opts.BaseEndpoint = &url
			break
		}
	}
	return eventbridge.New(opts), nil
}
