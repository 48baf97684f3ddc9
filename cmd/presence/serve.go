package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9/logging"

	"presence"
	"presence/internal/config"
	"presence/internal/local"
)

type serve struct {
	Addr      string `default:"localhost:4000" placeholder:"HOST:PORT" help:"Where to listen (${default}); other machines cannot reach a loopback address."`
	settings  `embed:""`
	Sweep     bool     `default:"true" negatable:"" help:"Run the schedule that finds timeouts; on by default."`
	Issuer    string   `placeholder:"URL" help:"Let in another issuer's tokens, such as a Cognito user pool's, in place of our own."`
	JWKS      string   `name:"jwks" placeholder:"URL" help:"Where that issuer's keys are; by default where Cognito has them."`
	ClientIDs []string `name:"client-id" placeholder:"ID" help:"Let in only that issuer's tokens for these app clients."`
	IAMKey    string   `name:"iam-key" placeholder:"ID:SECRET" help:"Key pair IAM callers sign with; by default a new one."`

	// Parts to run in processes of their own.
	Bootstrap   string `hidden:"" type:"existingfile"`
	EventBridge string `hidden:""`
}

// settings are the handler's, without the check that a Redis is given: here
// none need be.
type settings config.Config

func (s serve) Run(ctx context.Context) error {
	keys, err := keyPair(s.IAMKey)
	if err != nil {
		return err
	}
	// The store returns every error that go-redis would also print.
	logging.Disable()
	return local.Run(ctx, local.Options{
		Config: config.Config(s.settings), Addr: s.Addr, Sweep: s.Sweep,
		Issuer: s.Issuer, JWKSURL: s.JWKS, ClientIDs: s.ClientIDs, Keys: keys,
		Bootstrap: s.Bootstrap, EventBridge: s.EventBridge,
	}, func(r local.Running) {
		// Tokens and the next person to watch, ready to paste.
		command := "presence"
		if strings.Contains(os.Args[0], "go-build") {
			command = "go run ./cmd/presence"
		}
		where := ""
		if s.Addr != "localhost:4000" {
			where = " --endpoint " + r.Endpoint
		}
		fmt.Printf("GraphQL      %s\n", r.Endpoint)
		fmt.Printf("Real time    %s, and with wss://\n", r.Realtime)
		fmt.Printf("Certificate  %s, what wss:// and https:// clients have to trust\n", r.Certificate)
		if r.OwnIssuer {
			fmt.Printf("Token        curl '%s/token?user=alice'\n", r.Base)
		} else {
			fmt.Printf("Token        from %s\n", s.Issuer)
		}
		if s.IAMKey == "" {
			fmt.Printf("IAM          AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n", r.Keys.ID, r.Keys.Secret)
		} else {
			// Who chose the secret knows it, and logs must not.
			fmt.Printf("IAM          AWS_ACCESS_KEY_ID=%s and its secret, as given\n", r.Keys.ID)
		}
		fmt.Printf("EventBridge  %s\n", r.EventBridge)
		fmt.Printf("Browser      %s/ and %[1]s/demo; metrics at %[1]s/metrics\n", r.Base)
		if r.OwnRedis {
			fmt.Println("Redis        embedded: a restart forgets everybody")
		}
		if r.OwnIssuer {
			fmt.Printf("\nTo see a change arrive, paste these into two terminals:\n  %s watch bob%s\n  %[1]s online bob --url https://example.com/ --title Example%[2]s\n", command, where)
		}
	})
}

func keyPair(s string) (local.KeyPair, error) {
	id, secret, _ := strings.Cut(s, ":")
	if s != "" && (id == "" || secret == "") {
		return local.KeyPair{}, presence.Errorf(presence.InvalidArgument, "The IAM key pair must be of the form ID:SECRET.")
	}
	return local.KeyPair{ID: id, Secret: secret}, nil
}
