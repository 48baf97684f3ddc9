package appsync_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"

	"presence/internal/local/appsync"
	"presence/internal/wire"
)

// A schema, the resolvers' code and a Lambda handler are all it takes.
func ExampleServer() {
	type event struct {
		Name, Caller string
	}
	server, err := appsync.New(appsync.Options{
		Schema: `type Query { greet(name: String!): String }`,
		Code: `
			export function request(ctx) {
				return { operation: 'Invoke', payload: { name: ctx.args.name, caller: ctx.identity.username } };
			}
			export function response(ctx) {
				return ctx.result;
			}`,
		Invoker: lambda.NewHandler(func(_ context.Context, e event) (string, error) {
			return e.Caller + " greets " + e.Name, nil
		}),
		Authorize: func(_ context.Context, c wire.Credentials) (*wire.Identity, error) {
			name := c.Header.Get("Authorization")
			return &wire.Identity{Sub: name, Username: name}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close(context.Background())
	web := httptest.NewServer(server)
	defer web.Close()

	req, err := http.NewRequest(http.MethodPost, web.URL+appsync.Path, strings.NewReader(`{"query":"{ greet(name: \"bob\") }"}`))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "alice")
	resp, err := web.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	// Output: {"data":{"greet":"alice greets bob"}}
}
