package infra

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"

	"presence"
)

// appsyncPrelude declares what AppSync knows without being told: its scalars,
// and its directives with the places they may stand. @aws_auth is missing
// because it is void as soon as an API has more than one mode, as this one has.
//
//go:embed appsync.graphql
var appsyncPrelude string

// Schema returns the GraphQL schema as AppSync takes it: without descriptions
// and comments, which its parser has refused in places. It is an error where
// the schema holds something else AppSync refuses, so that a synth fails and
// not a deployment.
func Schema(source string) (string, error) {
	doc, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: source})
	if err != nil {
		return "", presence.Errorf(presence.InvalidArgument, "The schema can not be parsed: %v.", err)
	}
	if err := checkDocument(doc); err != nil {
		return "", err
	}
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("  "), formatter.WithoutDescription()).FormatSchemaDocument(doc)
	if err := checkTypes(b.String()); err != nil {
		return "", err
	}
	return b.String(), nil
}

// checkDocument checks what only the text as written shows.
func checkDocument(doc *ast.SchemaDocument) error {
	invalid := func(format string, args ...any) error {
		return presence.Errorf(presence.InvalidArgument, "AppSync refuses the schema: "+format, args...)
	}
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

// checkTypes checks the printed schema together with the prelude, so that
// unknown types and directives, directives out of place and wrong arguments are
// gqlparser's to find, and then the rules of AppSync's own directives.
func checkTypes(printed string) error {
	invalid := func(format string, args ...any) error {
		return presence.Errorf(presence.InvalidArgument, "AppSync refuses the schema: "+format, args...)
	}
	schema, err := gqlparser.LoadSchema(
		&ast.Source{Name: "appsync.graphql", Input: appsyncPrelude, BuiltIn: true},
		&ast.Source{Name: "schema.graphql", Input: printed})
	if err != nil {
		return invalid("%v.", err)
	}
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		if root == nil {
			continue
		}
		for _, field := range root.Fields {
			returned := schema.Types[field.Type.Name()]
			for _, mode := range modes(field.Directives) {
				if returned.Kind == ast.Object && !slices.Contains(modes(returned.Directives), mode) {
					return invalid("%s.%s may be called in mode %s, but its type %s has no @%[3]s: every field of the answer would be refused.", root.Name, field.Name, mode, returned.Name)
				}
			}
			subscribe := field.Directives.ForName("aws_subscribe")
			switch {
			case strings.HasPrefix(field.Name, "__"):
				continue
			case root != schema.Subscription && subscribe != nil:
				return invalid("%s.%s has @aws_subscribe, which is for Subscription.", root.Name, field.Name)
			case root != schema.Subscription:
				continue
			case field.Type.NonNull:
				return invalid("Subscription.%s must be nullable: nothing is there to answer when it starts.", field.Name)
			case subscribe == nil:
				return invalid("Subscription.%s has no @aws_subscribe.", field.Name)
			}
			for _, name := range subscribe.Arguments.ForName("mutations").Value.Children {
				mutation := schema.Mutation.Fields.ForName(name.Value.Raw)
				if mutation == nil || mutation.Type.Name() != field.Type.Name() {
					return invalid("Subscription.%s subscribes to %s, which is no mutation that returns %s.", field.Name, name.Value.Raw, field.Type.Name())
				}
			}
		}
	}
	return nil
}

// modes returns the authorization modes directives let in, by the names of
// their directives; without any, the API's default mode alone.
func modes(directives ast.DirectiveList) []string {
	var names []string
	for _, d := range directives {
		if strings.HasPrefix(d.Name, "aws_") && d.Name != "aws_subscribe" {
			names = append(names, d.Name)
		}
	}
	if names == nil {
		return []string{"aws_cognito_user_pools"}
	}
	return names
}
