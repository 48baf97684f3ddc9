// Package announce is the road from EventBridge back to AppSync's subscribers:
// the rules, and the mutations that are their targets. The CDK stack deploys
// them and the local EventBridge runs them.
//
// A target's resolver reads the user's state and answers with that, so an event
// only says which user to look at. Late, doubled and reordered events do no
// harm.
package announce

import (
	"encoding/json"
	"strings"

	"presence"
)

// Rule is an EventBridge rule whose target is a mutation.
type Rule struct {
	// Field is the Mutation field that the target calls.
	Field string
	// Changes are those whose events the rule matches.
	Changes []presence.Change
}

// Rules returns the rules. Together they match every change.
func Rules() []Rule {
	return []Rule{
		{Field: "connected", Changes: []presence.Change{presence.Connected, presence.Changed}},
		{Field: "disconnected", Changes: []presence.Change{presence.Disconnected}},
	}
}

// Pattern returns the rule's event pattern, as JSON.
func (r Rule) Pattern() string {
	var types []string
	for _, c := range r.Changes {
		types = append(types, c.DetailType())
	}
	pattern, _ := json.Marshal(map[string][]string{"source": {presence.EventSource}, "detail-type": types}) // strings cannot fail
	return string(pattern)
}

// Operation returns the target's GraphQL operation. Subscribers receive just the
// fields it selects, so it selects every field of Presence.
func (r Rule) Operation() string {
	return "mutation Announce($userId: ID!) { " + r.Field + "(userId: $userId) { " + strings.Join(presence.Fields(), " ") + " } }"
}

// InputPaths and InputTemplate are the target's input transformer. They make the
// operation's variables from the event.
func (Rule) InputPaths() map[string]string {
	return map[string]string{"userId": "$.detail.userId"}
}

// InputTemplate is described at [Rule.InputPaths].
func (Rule) InputTemplate() string { return `{"userId":<userId>}` }
