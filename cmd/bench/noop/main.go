// Command noop is a Lambda bootstrap that does nothing: the least an
// invocation of one in Go can cost.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

type handler struct{}

// Invoke implements [lambda.Handler].
func (handler) Invoke(context.Context, []byte) ([]byte, error) { return []byte("null"), nil }

func main() { lambda.Start(handler{}) }
