package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"presence/internal/config"
)

// emptyHash is the SHA-256 of nothing, a GET's payload.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// elastiCacheCredentials returns what a new connection authenticates with: the
// password is a presigned request, good for 15 minutes. So there is no secret
// to keep, and none to fetch through yet another VPC endpoint.
//
// See "Authenticating with IAM" in the ElastiCache user guide.
func elastiCacheCredentials(where config.Redis, getenv func(string) string) func(context.Context) (string, string, error) {
	query := url.Values{"Action": {"connect"}, "User": {where.RedisIAMUser}, "X-Amz-Expires": {"900"}}
	if where.RedisIAMServerless {
		query.Set("ResourceType", "ServerlessCache")
	}
	target := "http://" + where.RedisIAMCache + "/?" + query.Encode()
	signer := v4.NewSigner()
	return func(ctx context.Context) (username, password string, err error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return "", "", fmt.Errorf("elasticache: %w", err)
		}
		creds := aws.Credentials{
			AccessKeyID:     getenv("AWS_ACCESS_KEY_ID"),
			SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken:    getenv("AWS_SESSION_TOKEN"),
		}
		signed, _, err := signer.PresignHTTP(ctx, creds, request, emptyHash, "elasticache", getenv("AWS_REGION"), time.Now())
		if err != nil {
			return "", "", fmt.Errorf("elasticache: %w", err)
		}
		return where.RedisIAMUser, strings.TrimPrefix(signed, "http://"), nil
	}
}
