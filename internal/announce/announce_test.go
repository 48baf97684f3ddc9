package announce_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"presence"
	"presence/internal/announce"
)

// The targets' operations fit the schema and select all that subscribers need.
func TestOperations(t *testing.T) {
	t.Parallel()
	prelude := `directive @aws_iam on OBJECT|FIELD_DEFINITION directive @aws_cognito_user_pools on OBJECT|FIELD_DEFINITION
		directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION scalar AWSDateTime`
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: prelude}, &ast.Source{Input: presence.Schema})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range announce.Rules() {
		doc, errs := gqlparser.LoadQueryWithRules(schema, r.Operation(), rules.NewDefaultRules())
		if errs != nil {
			t.Errorf("%s: %v", r.Field, errs)
			continue
		}
		mutation := doc.Operations[0].SelectionSet[0].(*ast.Field)
		var selected, want []string
		for _, s := range mutation.SelectionSet {
			selected = append(selected, s.(*ast.Field).Name)
		}
		for _, f := range schema.Types["Presence"].Fields {
			want = append(want, f.Name)
		}
		if diff := cmp.Diff(want, selected); mutation.Name != r.Field || diff != "" {
			t.Errorf("%s runs %s: -want +selected:\n%s", r.Field, mutation.Name, diff)
		}
	}
}

// Every change has one rule, or subscribers would miss it or hear of it twice.
func TestPatterns(t *testing.T) {
	t.Parallel()
	var matched []string
	for _, r := range announce.Rules() {
		var pattern struct {
			Source     []string `json:"source"`
			DetailType []string `json:"detail-type"`
		}
		if err := json.Unmarshal([]byte(r.Pattern()), &pattern); err != nil || len(pattern.Source) != 1 || pattern.Source[0] != presence.EventSource {
			t.Errorf("%s matches %s (%v)", r.Field, r.Pattern(), err)
		}
		matched = append(matched, pattern.DetailType...)
	}
	slices.Sort(matched)
	want := []string{"presence.changed", "presence.connected", "presence.disconnected"}
	if diff := cmp.Diff(want, matched); diff != "" {
		t.Errorf("-want +matched:\n%s", diff)
	}
}
