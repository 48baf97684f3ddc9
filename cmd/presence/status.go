package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

type status struct {
	api   `embed:""`
	Users []string `arg:"" name:"user" help:"Who to ask about."`
	JSON  bool     `name:"json" help:"Print a JSON array, in the order asked."`
}

func (s status) Run(ctx context.Context) error {
	c, err := s.client(ctx, reader)
	if err != nil {
		return err
	}
	ps, err := c.Status(ctx, s.Users...)
	if err != nil {
		return err
	}
	if s.JSON {
		return json.NewEncoder(os.Stdout).Encode(ps)
	}
	var rows strings.Builder
	rows.WriteString("USER\tSTATUS\tLAST SEEN\tPAGE\tTITLE\n")
	for _, p := range ps {
		seen := "never"
		if p.LastSeen != 0 {
			seen = p.LastSeen.Time().Local().Format(time.DateTime)
		}
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\n", p.UserID, p.Status, seen, orDash(p.URL), orDash(p.Title))
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, rows.String()); err != nil {
		return err
	}
	return table.Flush()
}

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}
