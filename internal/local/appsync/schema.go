package appsync

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"presence"
	"presence/internal/wire"
)

//go:embed prelude.graphql
var prelude string

// directiveModes maps the directives that admit callers to the mode each one
// admits.
var directiveModes = map[string]wire.AuthMode{
	"aws_api_key":            wire.ModeAPIKey,
	"aws_iam":                wire.ModeIAM,
	"aws_oidc":               wire.ModeOIDC,
	"aws_lambda":             wire.ModeLambda,
	"aws_cognito_user_pools": wire.ModeUserPools,
	"aws_auth":               wire.ModeUserPools,
}

// loadSchema parses a schema as AppSync takes it. Mistakes in it are
// [presence.InvalidArgument] errors.
func loadSchema(source string) (*ast.Schema, error) {
	schema, err := validator.LoadSchema(validator.Prelude,
		&ast.Source{Name: "prelude.graphql", Input: prelude, BuiltIn: true},
		&ast.Source{Name: "schema.graphql", Input: source})
	if err != nil {
		return nil, presence.Errorf(presence.InvalidArgument, "The schema is not valid: %v.", err)
	}
	if schema.Query == nil {
		return nil, presence.Errorf(presence.InvalidArgument, "The schema has no Query type.")
	}
	// AppSync has no incremental delivery, so the directive is unknown there.
	delete(schema.Directives, "defer")
	return schema, checkDirectives(schema)
}

// checkDirectives finds what AppSync refuses: @aws_auth beside the directives
// that replace it, and subscriptions to mutations that do not exist or return
// another type.
func checkDirectives(schema *ast.Schema) error {
	var auth, modes bool
	note := func(list ast.DirectiveList) {
		for _, d := range list {
			if d.Name == "aws_auth" {
				auth = true
			} else if _, ok := directiveModes[d.Name]; ok {
				modes = true
			}
		}
	}
	for _, def := range schema.Types {
		note(def.Directives)
		for _, field := range def.Fields {
			note(field.Directives)
		}
	}
	if auth && modes {
		return presence.Errorf(presence.InvalidArgument, "The schema mixes @aws_auth with other authorization directives: @aws_auth is for APIs whose only mode is Cognito user pools. Use @aws_cognito_user_pools.")
	}
	if schema.Subscription == nil {
		return nil
	}
	for _, field := range schema.Subscription.Fields {
		for _, name := range subscribedMutations(field) {
			var mutation *ast.FieldDefinition
			if schema.Mutation != nil {
				mutation = schema.Mutation.Fields.ForName(name)
			}
			if mutation == nil {
				return presence.Errorf(presence.InvalidArgument, "Subscription.%s subscribes to Mutation.%s, which does not exist.", field.Name, name)
			}
			if mutation.Type.Name() != field.Type.Name() {
				return presence.Errorf(presence.InvalidArgument, "Subscription.%s returns %s but Mutation.%s returns %s: AppSync wants the same type.", field.Name, field.Type.Name(), name, mutation.Type.Name())
			}
		}
	}
	return nil
}

// subscribedMutations returns the mutations a subscription field listens to.
func subscribedMutations(field *ast.FieldDefinition) []string {
	return stringsArgument(field.Directives.ForName("aws_subscribe"), "mutations")
}

func stringsArgument(d *ast.Directive, name string) []string {
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

// admits reports whether a caller may read a field: by the field's directives,
// else by its type's, else by the default mode, which is Cognito user pools.
// A returned type is covered because each of its fields is asked about.
// See "Configuring authorization and authentication" in the AppSync developer
// guide.
func admits(parent *ast.Definition, field *ast.FieldDefinition, caller *wire.Identity) bool {
	mode := caller.Mode()
	for _, list := range []ast.DirectiveList{field.Directives, parent.Directives} {
		ruled := false
		for _, d := range list {
			admitted, ok := directiveModes[d.Name]
			if !ok {
				continue
			}
			ruled = true
			if admitted != mode {
				continue
			}
			groups := stringsArgument(d, "cognito_groups")
			if len(groups) == 0 || slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(caller.Groups, g) }) {
				return true
			}
		}
		if ruled {
			return false
		}
	}
	return mode == wire.ModeUserPools
}

func denial(parent *ast.Definition, field string) string {
	return fmt.Sprintf("Not Authorized to access %s on type %s", field, parent.Name)
}
