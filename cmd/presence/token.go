package main

import (
	"context"
	"fmt"

	"presence/internal/client"
)

type token struct {
	User     string `arg:"" help:"Whose token; any name will do."`
	Endpoint string `default:"http://localhost:4000/graphql" placeholder:"URL" help:"GraphQL URL of the local server (${default})."`
}

func (t token) Run(ctx context.Context) error {
	token, err := client.LocalToken(ctx, t.Endpoint, t.User)
	if err != nil {
		return err
	}
	fmt.Println(token)
	return nil
}
