package sdl_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"presence"
	"presence/internal/sdl"
)

// What is deployed says the same as schema.graphql, less all that is meant for
// people: AppSync's parser has refused that.
func TestPrint(t *testing.T) {
	t.Parallel()
	printed, err := sdl.Print(presence.Schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, refused := range []string{"#", `"""`} {
		if strings.Contains(printed, refused) {
			t.Errorf("the printed schema contains %s", refused)
		}
	}
	doc, err := parser.ParseSchema(&ast.Source{Input: printed})
	if err != nil {
		t.Fatal(err)
	}
	source, err := parser.ParseSchema(&ast.Source{Input: presence.Schema})
	if err != nil {
		t.Fatal(err)
	}
	for _, def := range source.Definitions {
		got := doc.Definitions.ForName(def.Name)
		if got == nil || got.Description != "" {
			t.Fatalf("%s is missing, or has its description", def.Name)
		}
		equal(t, def.Name+"'s directives", directives(got.Directives), directives(def.Directives))
		for _, field := range def.Fields {
			printedField := got.Fields.ForName(field.Name)
			if printedField == nil || printedField.Description != "" {
				t.Fatalf("%s.%s is missing, or has its description", def.Name, field.Name)
			}
			equal(t, field.Name+"'s type", printedField.Type.String(), field.Type.String())
			equal(t, field.Name+"'s directives", directives(printedField.Directives), directives(field.Directives))
			for _, argument := range field.Arguments {
				printedArgument := printedField.Arguments.ForName(argument.Name)
				if printedArgument == nil || printedArgument.Description != "" {
					t.Fatalf("%s.%s(%s) is missing, or has its description", def.Name, field.Name, argument.Name)
				}
				equal(t, argument.Name+"'s type", printedArgument.Type.String(), argument.Type.String())
			}
		}
		equal(t, def.Name+"'s values", len(got.EnumValues), len(def.EnumValues))
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// directives returns directives with their arguments, as they are written.
func directives(list ast.DirectiveList) []string {
	names := []string{}
	for _, d := range list {
		text := d.Name
		for _, a := range d.Arguments {
			text += " " + a.Name + ":" + a.Value.String()
		}
		names = append(names, text)
	}
	return names
}

// Each is taken by a GraphQL parser and refused by AppSync.
func TestRefused(t *testing.T) {
	t.Parallel()
	const (
		root = "type Query { a: T }\n"
		typ  = "type T @aws_iam @aws_cognito_user_pools { a: ID }\n"
	)
	for name, test := range map[string]struct{ schema, says string }{
		"no-graphql":                 {"type {", "parsed"},
		"custom-scalar":              {root + typ + "scalar URL", "scalar URL"},
		"unknown-scalar":             {"type Query { a: URL }", "URL"},
		"name-of-aws":                {root + typ + "enum AWSStatus { a }", "begins with AWS"},
		"custom-directive":           {root + typ + "directive @mine on OBJECT", "@mine"},
		"unknown-directive":          {"type Query { a: ID @mine }", "mine"},
		"directive-out-of-place":     {root + typ + "input I { a: ID @aws_iam }", "aws_iam"},
		"sole-mode-directive":        {"type Query { a: ID @aws_auth }", "aws_auth"},
		"extension":                  {root + typ + "extend type T { b: ID }", "extend"},
		"two-interfaces":             {"interface A { a: ID }\ninterface B { a: ID }\ntype T implements A & B { a: ID }\ntype Query { a: ID }", "more than one interface"},
		"deprecated-enum-value":      {root + typ + "enum E { a @deprecated }", "E.a"},
		"deprecated-argument":        {typ + "type Query { a(b: ID @deprecated): T }", "argument b"},
		"type-without-the-mode":      {"type Query { a: T @aws_iam }\ntype T { a: ID }", "aws_iam"},
		"type-without-default-mode":  {"type Query { a: T }\ntype T @aws_iam { a: ID }", "aws_cognito_user_pools"},
		"subscription-not-null":      {root + typ + "type Mutation { m: T }\ntype Subscription { s: T! @aws_subscribe(mutations: [\"m\"]) }", "nullable"},
		"subscription-to-nothing":    {root + typ + "type Mutation { m: T }\ntype Subscription { s: T }", "no @aws_subscribe"},
		"subscription-to-no-field":   {root + typ + "type Mutation { m: T }\ntype Subscription { s: T @aws_subscribe(mutations: [\"n\"]) }", "subscribes to n"},
		"subscription-to-no-type":    {root + typ + "type Subscription { s: T @aws_subscribe(mutations: [\"m\"]) }", "subscribes to m"},
		"mixed-aws-auth":             {"type Query { a: ID @aws_auth(cognito_groups: [\"x\"]) b: ID @aws_iam }", "@aws_auth"},
		"no-query":                   {"type A { a: ID }", "no type Query"},
		"subscription-to-other-type": {root + typ + "type Mutation { m: ID }\ntype Subscription { s: T @aws_subscribe(mutations: [\"m\"]) }", "returns T"},
		"query-that-subscribes":      {typ + "type Query { a: T @aws_subscribe(mutations: [\"m\"]) }\ntype Mutation { m: T }", "for Subscription"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sdl.Print(test.schema)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error that says %q", err, test.says)
			}
		})
	}
}

// The local AppSync serves what nobody could read, as AppSync does: only the
// stack refuses it.
func TestLoad(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"aws-auth-alone":        "type Query { a: ID @aws_auth(cognito_groups: [\"x\"]) }",
		"type-without-the-mode": "type Query { a: T @aws_iam }\ntype T { a: ID }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := sdl.Load(source); err != nil {
				t.Error(err)
			}
			if _, err := sdl.Print(source); err == nil || presence.AsError(err).Code != presence.InvalidArgument {
				t.Errorf("Print: %v, want InvalidArgument", err)
			}
		})
	}
	schema, err := sdl.Load(presence.Schema)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "mutations", sdl.SubscribedMutations(schema.Subscription.Fields.ForName("onStatus")), []string{"connected", "disconnected"})
}
