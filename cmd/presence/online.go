package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"presence"
)

type online struct {
	api        `embed:""`
	User       string `arg:"" help:"The user; with --token, the user of that token."`
	URL        string `name:"url" help:"The page to be on; without it, online and no page shown."`
	Title      string `help:"The title of that page."`
	SilentExit bool   `help:"Leave without a word: others see it after the timeout."`
}

func (o online) Run(ctx context.Context) error {
	c, err := o.client(ctx, o.User)
	if err != nil {
		return err
	}
	// Each process is a session of its own, as each tab of a browser is.
	session, page := rand.Text(), presence.Page{URL: o.URL, Title: o.Title}
	leave := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, err := c.Disconnect(ctx, session, 0)
		return err
	}

	p, err := c.Connect(ctx, session, page)
	if err != nil {
		return err
	}
	if p.UserID != o.User {
		if err := leave(); err != nil {
			return err
		}
		return presence.Errorf(presence.InvalidArgument, "The token is %s's, not %s's.", p.UserID, o.User)
	}
	fmt.Printf("%s is online; Ctrl-C to leave.\n", p.UserID)
	interval := time.Duration(p.HeartbeatIntervalMs) * time.Millisecond
	for wait := interval; ; {
		select {
		case <-ctx.Done():
			if o.SilentExit {
				return nil
			}
			return leave()
		case <-time.After(wait):
		}
		switch p, err := c.Heartbeat(ctx, session, page); {
		case err == nil:
			interval = time.Duration(p.HeartbeatIntervalMs) * time.Millisecond
			wait = interval
		case ctx.Err() != nil:
		case presence.AsError(err).Code == presence.Unauthorized, presence.AsError(err).Code == presence.InvalidArgument:
			return err
		default:
			// Soon enough for several attempts before the timeout.
			wait = interval / 5
			fmt.Fprintf(os.Stderr, "presence: %v; next heartbeat in %v\n", err, wait)
		}
	}
}
