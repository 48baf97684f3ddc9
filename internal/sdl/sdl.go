// Package sdl knows what AppSync accepts as a schema. The stack deploys what it
// prints, and the local AppSync serves what it loads.
package sdl

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"

	"presence"
	"presence/internal/wire"
)

// prelude declares what AppSync knows without being told: its scalars, and its
// directives with the places they may stand.
//
//go:embed prelude.graphql
var prelude string

// modes maps the directives that let callers in to the mode each one lets in.
var modes = map[string]wire.AuthMode{
	"aws_api_key":            wire.ModeAPIKey,
	"aws_iam":                wire.ModeIAM,
	"aws_oidc":               wire.ModeOIDC,
	"aws_lambda":             wire.ModeLambda,
	"aws_cognito_user_pools": wire.ModeUserPools,
	"aws_auth":               wire.ModeUserPools,
}

// Mode returns the authorization mode that a directive lets in. It reports
// false for directives that are about something else.
func Mode(directive string) (wire.AuthMode, bool) {
	mode, ok := modes[directive]
	return mode, ok
}

// SubscribedMutations returns the mutations a subscription field listens to.
func SubscribedMutations(field *ast.FieldDefinition) []string {
	return Strings(field.Directives.ForName("aws_subscribe"), "mutations")
}

// Strings returns an argument of a directive that is a list of strings. It
// returns nil if the directive or the argument is not there.
func Strings(d *ast.Directive, name string) []string {
	if d == nil {
		return nil
	}
	argument := d.Arguments.ForName(name)
	if argument == nil {
		return nil
	}
	var list []string
	for _, child := range argument.Value.Children {
		list = append(list, child.Value.Raw)
	}
	return list
}

// Load parses a schema. A schema that AppSync refuses is a
// [presence.InvalidArgument] error.
func Load(source string) (*ast.Schema, error) {
	schema, _, err := load(source)
	return schema, err
}

// Print returns a schema as it is deployed: without descriptions and comments,
// which AppSync's parser has refused in places. It refuses what [Load] refuses,
// and a schema with answers that nobody could read.
func Print(source string) (string, error) {
	schema, doc, err := load(source)
	if err != nil {
		return "", err
	}
	if err := checkReach(schema); err != nil {
		return "", err
	}
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("  "), formatter.WithoutDescription()).FormatSchemaDocument(doc)
	return b.String(), nil
}

func invalid(format string, args ...any) error {
	return presence.Errorf(presence.InvalidArgument, "AppSync refuses the schema: "+format, args...)
}

func load(source string) (*ast.Schema, *ast.SchemaDocument, error) {
	input := &ast.Source{Name: "schema.graphql", Input: source}
	doc, err := parser.ParseSchema(input)
	if err != nil {
		return nil, nil, invalid("it cannot be parsed: %v.", err)
	}
	if err := checkDocument(doc); err != nil {
		return nil, nil, err
	}
	schema, err := validator.LoadSchema(validator.Prelude, &ast.Source{Name: "prelude.graphql", Input: prelude, BuiltIn: true}, input)
	if err != nil {
		return nil, nil, invalid("%v.", err)
	}
	if schema.Query == nil {
		return nil, nil, invalid("it has no type Query.")
	}
	// AppSync has no incremental delivery, so the directive is unknown there.
	delete(schema.Directives, "defer")
	if err := checkModes(schema); err != nil {
		return nil, nil, err
	}
	return schema, doc, checkSubscriptions(schema)
}

// checkDocument checks what only the text as written shows.
func checkDocument(doc *ast.SchemaDocument) error {
	if len(doc.Extensions) > 0 || len(doc.SchemaExtension) > 0 {
		return invalid("it takes no extend.")
	}
	if len(doc.Directives) > 0 {
		return invalid("directive @%s is not AppSync's, and it knows no others.", doc.Directives[0].Name)
	}
	for _, def := range doc.Definitions {
		switch {
		case def.Kind == ast.Scalar:
			return invalid("scalar %s is not AppSync's, and it knows no others.", def.Name)
		case strings.HasPrefix(def.Name, "AWS"):
			return invalid("the name %s begins with AWS.", def.Name)
		case len(def.Interfaces) > 1:
			return invalid("%s implements more than one interface, joined by &.", def.Name)
		}
		// GraphQL allows @deprecated on these; AppSync drops or refuses it.
		for _, value := range def.EnumValues {
			if len(value.Directives) > 0 {
				return invalid("the value %s.%s has a directive.", def.Name, value.Name)
			}
		}
		for _, field := range def.Fields {
			for _, argument := range field.Arguments {
				if len(argument.Directives) > 0 {
					return invalid("the argument %s of %s.%s has a directive.", argument.Name, def.Name, field.Name)
				}
			}
		}
	}
	return nil
}

// checkModes finds @aws_auth beside the directives that replace it.
func checkModes(schema *ast.Schema) error {
	var auth, others bool
	note := func(list ast.DirectiveList) {
		for _, d := range list {
			_, mode := modes[d.Name]
			auth = auth || d.Name == "aws_auth"
			others = others || mode && d.Name != "aws_auth"
		}
	}
	for _, def := range schema.Types {
		note(def.Directives)
		for _, field := range def.Fields {
			note(field.Directives)
		}
	}
	if auth && others {
		return invalid("it has @aws_auth and other authorization directives. @aws_auth is for APIs with Cognito user pools as the only mode: use @aws_cognito_user_pools.")
	}
	return nil
}

// checkSubscriptions checks where @aws_subscribe stands and what it names.
func checkSubscriptions(schema *ast.Schema) error {
	for _, def := range schema.Types {
		for _, field := range def.Fields {
			if def != schema.Subscription && field.Directives.ForName("aws_subscribe") != nil {
				return invalid("%s.%s has @aws_subscribe, which is for Subscription.", def.Name, field.Name)
			}
		}
	}
	if schema.Subscription == nil {
		return nil
	}
	for _, field := range schema.Subscription.Fields {
		switch {
		case strings.HasPrefix(field.Name, "__"):
			continue
		case field.Type.NonNull:
			return invalid("Subscription.%s must be nullable: nothing is there to answer when it starts.", field.Name)
		case field.Directives.ForName("aws_subscribe") == nil:
			return invalid("Subscription.%s has no @aws_subscribe.", field.Name)
		}
		for _, name := range SubscribedMutations(field) {
			var mutation *ast.FieldDefinition
			if schema.Mutation != nil {
				mutation = schema.Mutation.Fields.ForName(name)
			}
			if mutation == nil || mutation.Type.Name() != field.Type.Name() {
				return invalid("Subscription.%s subscribes to %s, which is no mutation that returns %s.", field.Name, name, field.Type.Name())
			}
		}
	}
	return nil
}

// checkReach finds root fields that a mode may call without being allowed to
// read the answer. AppSync takes them and then refuses every field of the answer.
//
// @aws_auth is void as soon as an API has more than one mode, as this one has.
func checkReach(schema *ast.Schema) error {
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		if root == nil {
			continue
		}
		for _, field := range root.Fields {
			if field.Directives.ForName("aws_auth") != nil {
				return presence.Errorf(presence.InvalidArgument, "%s.%s has @aws_auth, which does nothing in an API with several modes: use @aws_cognito_user_pools.", root.Name, field.Name)
			}
			returned := schema.Types[field.Type.Name()]
			for _, mode := range modesOf(field.Directives) {
				if returned.Kind == ast.Object && !returned.BuiltIn && !slices.Contains(modesOf(returned.Directives), mode) {
					return presence.Errorf(presence.InvalidArgument, "%s.%s may be called in mode %s, but its type %s has no @%[3]s: every field of the answer would be refused.", root.Name, field.Name, mode, returned.Name)
				}
			}
		}
	}
	return nil
}

// modesOf returns the authorization modes directives let in, by the names of
// their directives; without any, the API's default mode alone.
func modesOf(directives ast.DirectiveList) []string {
	var names []string
	for _, d := range directives {
		if _, ok := modes[d.Name]; ok {
			names = append(names, d.Name)
		}
	}
	if names == nil {
		return []string{"aws_cognito_user_pools"}
	}
	return names
}
