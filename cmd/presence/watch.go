package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"presence"
	"presence/internal/client"
)

type watch struct {
	api   `embed:""`
	Users []string `arg:"" name:"user" help:"Who to watch."`
	JSON  bool     `name:"json" help:"Print JSON, one object a line."`
}

func (w watch) Run(ctx context.Context) error {
	c, err := w.client(ctx, reader)
	if err != nil {
		return err
	}
	return c.Watch(ctx, w.Users, client.Watcher{
		Changed: func(p presence.Presence) {
			if w.JSON {
				// To a closed pipe it can only fail as the process ends.
				_ = json.NewEncoder(os.Stdout).Encode(p)
				return
			}
			fmt.Printf("%s  %s  %s", clock(p.AsOf), p.UserID, p.Status)
			if p.URL != nil {
				fmt.Printf("  %s", *p.URL)
			}
			if p.Title != nil {
				fmt.Printf("  %q", *p.Title)
			}
			fmt.Println()
		},
		Interrupted: func(err error, retry time.Duration) {
			fmt.Fprintf(os.Stderr, "presence: %v; next attempt in %v\n", err, retry.Round(time.Millisecond))
		},
	})
}

func clock(t presence.Time) string { return t.Time().Local().Format(time.TimeOnly) }
