package appsync_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"presence"
	"presence/internal/local/appsync"
	"presence/internal/wire"
)

const onStatusOf = `subscription($u: ID!) { onStatus(userId: $u) { userId } }`

// What a subscription's resolver raises is an error of the start.
func TestSubscriptionResolver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer any
		err    error
		want   string
	}{
		"typed-error": {map[string]any{"error": map[string]string{"type": "InvalidArgument", "message": "No."}}, nil, `"payload":{"errors":[{"message":"No.","errorType":"InvalidArgument"}]}`},
		"unavailable": {nil, fmt.Errorf("secret"), `"errorType":"Unavailable"`},
		"no-filter":   {data(nil), nil, `"errorType":"Internal"`},
		"no-groups":   {data(wire.SubscriptionFilter{FilterGroup: []wire.FilterRules{}}), nil, `"errorType":"Internal"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Invoker: invoker(func(context.Context, call) (any, error) { return c.answer, c.err })})
			ws := open(t, server, "bob")
			start(t, ws, "1", "bob", onStatusOf, map[string]any{"u": "alice"})
			if got := expect(t, ws, `"error"`); !strings.Contains(got, c.want) || strings.Contains(got, "secret") {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Callers who send the very same operation share what is rendered, and nothing
// that depends on who they are.
func TestSameOperationOtherCaller(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
		switch {
		case c.Field == "Subscription.onStatus" && c.Caller.ID == "eve":
			return map[string]any{"error": map[string]string{"type": "Unauthorized", "message": "Not you."}}, nil
		case c.Field == "Subscription.onStatus":
			return data(wire.ContainsAny("topics", topics(c.Caller.ID))), nil
		}
		return fakePresence(ctx, c)
	})})
	ws := open(t, server, "bob")
	for _, who := range []string{"bob", "carol"} {
		start(t, ws, who, who, onStatusOf, map[string]any{"u": "x"})
		expect(t, ws, `{"id":"`+who+`","type":"start_ack"`)
	}
	start(t, ws, "eve", "eve", onStatusOf, map[string]any{"u": "x"})
	expect(t, ws, `"Not you."`)
	query(t, server, "iam", connected, map[string]any{"u": "carol"})
	expect(t, ws, `{"id":"carol","type":"data"`)
	query(t, server, "iam", connected, map[string]any{"u": "bob"})
	expect(t, ws, `{"id":"bob","type":"data"`)
}

// Variables that decide what is selected are part of what is shared.
func TestSelectionByVariable(t *testing.T) {
	t.Parallel()
	server := newServer(t, appsync.Options{})
	const document = `subscription($u: ID!, $all: Boolean!) { onStatus(userId: $u) { userId ...F } } fragment F on Presence { status @include(if: $all) }`
	ws := open(t, server, "bob")
	for id, all := range map[string]bool{"all": true, "some": false} {
		start(t, ws, id, "bob", document, map[string]any{"u": "alice", "all": all})
		expect(t, ws, `"start_ack"`)
	}
	query(t, server, "iam", connected, map[string]any{"u": "alice"})
	got := []string{expect(t, ws, `"data"`), expect(t, ws, `"data"`)}
	for _, text := range got {
		if strings.Contains(text, `"id":"all"`) != strings.Contains(text, `"status":"online"`) {
			t.Errorf("got %s", text)
		}
	}
}

// A function that takes long holds up neither the socket nor the stop of the
// subscription it is for.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	begun, free := make(chan struct{}), make(chan struct{})
	server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
		if c.Field == "Subscription.onStatus" && strings.Contains(string(c.Arguments), "slow") {
			close(begun)
			<-free
		}
		return fakePresence(ctx, c)
	})})
	ws := open(t, server, "bob")
	start(t, ws, "1", "bob", onStatusOf, map[string]any{"u": "slow"})
	<-begun
	start(t, ws, "1", "bob", onStatusOf, map[string]any{"u": "alice"})
	expect(t, ws, "DuplicatedOperationError")
	start(t, ws, "2", "bob", onStatusOf, map[string]any{"u": "alice"})
	expect(t, ws, `{"id":"2","type":"start_ack"}`)
	send(t, ws, `{"id":"1","type":"stop"}`)
	expect(t, ws, `{"id":"1","type":"complete"}`)
	close(free)
	// The stopped one is neither acknowledged nor told.
	query(t, server, "iam", connected, map[string]any{"u": "slow"})
	query(t, server, "iam", connected, map[string]any{"u": "alice"})
	expect(t, ws, `{"id":"2","type":"data"`)
}

// A mutation that fails or answers null tells nobody.
func TestNothingToTell(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]any{
		"null":          data(nil),
		"error":         map[string]any{"error": map[string]string{"type": "T", "message": "m"}},
		"not-an-object": data("text"),
		"no-topics":     data(presence.Presence{UserID: "alice", Status: presence.Online}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, appsync.Options{Invoker: invoker(func(ctx context.Context, c call) (any, error) {
				if c.Field == "Mutation.connected" {
					return answer, nil
				}
				return fakePresence(ctx, c)
			})})
			ws := open(t, server, "bob")
			start(t, ws, "1", "bob", onStatusOf, map[string]any{"u": "alice"})
			expect(t, ws, `"start_ack"`)
			query(t, server, "iam", connected, map[string]any{"u": "alice"})
			send(t, ws, `{"id":"1","type":"stop"}`)
			expect(t, ws, `"complete"`)
		})
	}
}
