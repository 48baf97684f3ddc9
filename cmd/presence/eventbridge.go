package main

import (
	"context"
	"fmt"
	"log/slog"

	"presence/internal/local"
)

// eventBridge is a part of serve in a process of its own, so that tests can
// end one without the other.
type eventBridge struct {
	Addr     string `default:"localhost:4010" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	Endpoint string `default:"http://localhost:4000/graphql" placeholder:"URL" help:"The API that the rules call (${default})."`
	EventBus string `default:"presence" help:"The name of the bus."`
	IAMKey   string `required:"" name:"iam-key" placeholder:"ID:SECRET" help:"The key pair serve has."`
	Faults   bool   `help:"Let callers with that key pair set what goes wrong, by PUT at /faults. For tests."`
}

func (e eventBridge) Run(ctx context.Context) error {
	keys, err := keyPair(e.IAMKey)
	if err != nil {
		return err
	}
	return local.RunEventBridge(ctx, e.Addr, local.EventBridgeOptions{
		Bus: e.EventBus, Endpoint: e.Endpoint, Keys: keys, Faults: e.Faults, Logger: slog.Default(),
	}, func(url string) { fmt.Printf("EventBridge  %s\n", url) })
}
