package sim_test

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"presence/internal/local/appsync/appsyncjs"
	"presence/internal/sim"
	"presence/resolvers"
)

// The simulator invokes the function with what the deployed resolver sends.
func TestPayload(t *testing.T) {
	t.Parallel()
	code, err := appsyncjs.Compile(resolvers.JS, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const user = `{"sub": "ann", "username": "ann", "claims": {"sub": "ann"}}`
	const iam = `{"userArn": "arn:aws:sts::111122223333:assumed-role/events/1"}`
	for _, test := range []struct{ parent, field, caller, identity, arguments string }{
		{"Mutation", "connect", "ann", user, `{"sessionId": "tab1", "url": "https://site.example/"}`},
		{"Mutation", "heartbeat", "ann", user, `{}`},
		{"Mutation", "disconnect", "ann", user, `{"graceMs": 5000}`},
		{"Mutation", "connected", "", iam, `{"userId": "ann"}`},
		{"Mutation", "disconnected", "", iam, `{"userId": "ann"}`},
		{"Query", "statuses", "ann", user, `{"userIds": ["ben"]}`},
	} {
		t.Run(test.field, func(t *testing.T) {
			t.Parallel()
			payload, err := code.Request(&appsyncjs.Context{
				Parent: test.parent, Field: test.field, Arguments: []byte(test.arguments), Identity: []byte(test.identity),
			})
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := json.Unmarshal(payload, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(sim.Payload(test.caller, test.field, []byte(test.arguments)), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("payload (-resolver +simulator):\n%s", diff)
			}
		})
	}
}
