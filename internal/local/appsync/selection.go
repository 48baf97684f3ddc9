package appsync

import (
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
)

// fields returns the merged fields of a selection on an object type.
func (o *operation) fields(set ast.SelectionSet, object *ast.Definition) []graphql.CollectedField {
	satisfies := append([]string{object.Name}, object.Interfaces...)
	for _, union := range o.schema.Implements[object.Name] {
		satisfies = append(satisfies, union.Name)
	}
	return graphql.CollectFields(o.collect, set, satisfies)
}

// selectionList lists the fields selected on a type as info.selectionSetList
// does: by alias, nested ones after a slash.
func (o *operation) selectionList(t *ast.Type, set ast.SelectionSet, prefix string, list []string) []string {
	for _, object := range o.schema.GetPossibleTypes(o.schema.Types[t.Name()]) {
		for _, f := range o.fields(set, object) {
			if len(list) >= maxSelected {
				return list
			}
			list = append(list, prefix+f.Alias)
			list = o.selectionList(f.Definition.Type, f.Selections, prefix+f.Alias+"/", list)
		}
	}
	return list
}

// selectionGraphQL writes a selection as info.selectionSetGraphQL has it.
func selectionGraphQL(set ast.SelectionSet) string {
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("  ")).FormatQueryDocument(&ast.QueryDocument{
		Operations: ast.OperationList{{Operation: ast.Query, SelectionSet: set}},
	})
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "query"))
}
