// Command presence is the presence API on one machine, and its command line
// client for there and for AWS.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"presence"
)

type commands struct {
	Serve  serve  `cmd:"" default:"withargs" help:"Run the API on this machine (the default)."`
	Token  token  `cmd:"" help:"Print a token of the running local server."`
	Online online `cmd:"" help:"Be online until Ctrl-C."`
	Watch  watch  `cmd:"" help:"Print each change as it arrives."`
	Status status `cmd:"" help:"Print who is online, and where."`

	EventBridge eventBridge `cmd:"" name:"eventbridge" hidden:""`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		// Ours are for people; kong puts the command's name before those it passes on.
		var ours *presence.Error
		if errors.As(err, &ours) {
			err = ours
		}
		fmt.Fprintln(os.Stderr, "presence:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	parser, err := kong.New(&commands{},
		kong.Name("presence"),
		kong.Description("Who is online, and on which page."),
		// Every flag is an environment variable too.
		kong.DefaultEnvars("PRESENCE"),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return command.Run()
}
