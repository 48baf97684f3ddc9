package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"presence"
	"presence/internal/client"
	"presence/internal/local/appsync/appsyncjs"
	"presence/resolvers"
)

// measureRoad has users go from page to page, and measures how long after the
// call of connect a watcher has the page: the handler, PutEvents, the rule, the
// mutation, the WebSocket. Then it measures what one part of each call costs:
// the resolver's JavaScript.
func measureRoad(ctx context.Context, b *bench) error {
	api, err := b.startAPI(ctx, timing)
	if err != nil {
		return err
	}
	defer func() { _ = api.stop() }()
	for _, callers := range []int{1, 8} {
		if err := b.road(ctx, api, callers); err != nil {
			return err
		}
	}
	return b.addJavaScript()
}

// road measures the way to a watcher with as many users as there are callers.
func (b *bench) road(ctx context.Context, api *api, callers int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := newPages(callers)
	if err := api.watch(ctx, callers, pages.heard); err != nil {
		return err
	}
	users := make([]*client.Client, callers)
	for n := range users {
		var err error
		if users[n], err = api.client(ctx, userID(n)); err != nil {
			return err
		}
	}
	r, err := load(ctx, callers, pick(b, 10*time.Second, time.Second), func(ctx context.Context, caller, n int) error {
		to := presence.Page{URL: page.URL + "&callers=" + strconv.Itoa(callers) + "&n=" + strconv.Itoa(n), Title: page.Title}
		if _, err := users[caller].Connect(ctx, "", to); err != nil {
			return err
		}
		return pages.wait(ctx, userID(caller), to.URL)
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("road/callers=%d/", callers)
	b.add(figure{name + "p50", millis(r.P50), "ms", 0, atMost(30)})
	b.add(figure{name + "p99", millis(r.P99), "ms", 0, atMost(100)})
	return nil
}

// pages are the pages a watcher has heard that users are on, in order.
type pages struct {
	come map[string]chan string
}

func newPages(users int) *pages {
	p := &pages{come: map[string]chan string{}}
	for n := range users {
		// More than ever wait: a change may be told twice.
		p.come[userID(n)] = make(chan string, 1000)
	}
	return p
}

// heard takes a message of the watcher.
func (p *pages) heard(told presence.Presence) {
	if told.URL != nil {
		p.come[told.UserID] <- *told.URL
	}
}

// wait returns once the watcher has heard that a user is on the page.
func (p *pages) wait(ctx context.Context, user, url string) error {
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case got := <-p.come[user]:
			if got == url {
				return nil
			}
		case <-timeout.C:
			return fmt.Errorf("the watcher has not heard of %s on %s", user, url)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// addJavaScript measures the request and response handlers of the deployed
// resolver, for a heartbeat.
func (b *bench) addJavaScript() error {
	code, err := appsyncjs.Compile(resolvers.JS, nil, nil)
	if err != nil {
		return err
	}
	answer := []byte(`{"data":{"userId":"bob","status":"online","url":"https://example.com/","title":"Home","lastSeen":"2023-11-14T22:13:20.000Z","asOf":"2023-11-14T22:13:20.000Z","expiresAt":"2023-11-14T22:14:35.000Z","heartbeatIntervalMs":30000,"topics":null}}`)
	call := func() error {
		c := &appsyncjs.Context{
			Parent: "Mutation", Field: "heartbeat", Arguments: []byte(visit(page)),
			Identity:  []byte(`{"sub":"` + userID(0) + `","username":"` + userID(0) + `"}`),
			Request:   func() []byte { return []byte(`{"headers":{},"domainName":null}`) },
			Variables: func() []byte { return []byte(`{}`) },
			Selection: func() ([]string, string) { return presence.Fields(), "" },
		}
		if _, err := code.Request(c); err != nil {
			return err
		}
		c.Result = answer
		_, err := code.Response(c)
		return err
	}
	var means []time.Duration
	for range pick(b, 7, 3) {
		const calls = 5000
		start := time.Now()
		for range calls {
			if err := call(); err != nil {
				return err
			}
		}
		means = append(means, time.Since(start)/calls)
	}
	b.add(figure{"javascript/call", median(means, micros), "µs", 0, atMost(50)})
	return nil
}
