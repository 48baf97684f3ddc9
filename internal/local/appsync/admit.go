package appsync

import (
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/sdl"
	"presence/internal/wire"
)

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
			admitted, ok := sdl.Mode(d.Name)
			if !ok {
				continue
			}
			ruled = true
			if admitted != mode {
				continue
			}
			groups := sdl.Strings(d, "cognito_groups")
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
