package appsync

import (
	"fmt"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/wire"
)

// completer turns what a resolver returned into the answer a selection asks
// for. It is for one field and one goroutine.
type completer struct {
	*operation
	caller *wire.Identity
	// unchecked leaves the caller's rights aside: a subscriber's were checked
	// when it started.
	unchecked bool
	out       []byte
	errors    []fieldError
	budget    *budget
	// counted is how much of out has been taken off the budget, and weight how many
	// times.
	counted, weight int
	// full is set once the budget is used up.
	full bool
}

func (c *completer) fail(path []any, at *ast.Position, message string, r *resolverError) {
	c.full = c.full || !c.budget.take(100+len(message))
	c.errors = append(c.errors, fieldError{Path: slices.Clone(path), Locations: locations(at), Message: message, resolverError: r})
}

// value appends a value of type t. It returns false if null is what came out
// and t does not allow it, which makes the parent null. An error for that has
// been noted then.
func (c *completer) value(path []any, parent *ast.Definition, f graphql.CollectedField, t *ast.Type, v any) bool {
	start := len(c.out)
	ok := c.nullable(path, parent, f, t, v)
	switch {
	case ok:
		return true
	case t.NonNull:
		return false
	}
	c.out = append(c.out[:start], "null"...)
	return true
}

// nullable is value without the last step: false also stands for null where
// null is allowed.
func (c *completer) nullable(path []any, parent *ast.Definition, f graphql.CollectedField, t *ast.Type, v any) bool {
	if grown := len(c.out) - c.counted; grown > 1<<10 {
		c.counted = len(c.out)
		c.full = c.full || !c.budget.take(grown*c.weight)
	}
	if c.full {
		return false
	}
	if v == nil {
		if t.NonNull {
			c.fail(path, nil, fmt.Sprintf("Cannot return null for non-nullable type: '%s' within parent '%s' (%s)", typeName(t), parent.Name, slashed(path)), nil)
		}
		return false
	}
	if t.Elem != nil {
		return c.list(path, parent, f, t.Elem, v)
	}
	def := c.schema.Types[t.NamedType]
	if !def.IsLeafType() {
		return c.composite(path, def, f, v)
	}
	text, reason := leaf(def, v)
	if reason != "" {
		c.fail(path, nil, fmt.Sprintf("Can't serialize value (%s) : %s", slashed(path), reason), nil)
		return false
	}
	c.out = append(c.out, text...)
	return true
}

func (c *completer) list(path []any, parent *ast.Definition, f graphql.CollectedField, item *ast.Type, v any) bool {
	list, ok := v.([]any)
	if !ok {
		c.fail(path, nil, fmt.Sprintf("Can't resolve value (%s) : type mismatch error, expected type LIST", slashed(path)), nil)
		return false
	}
	c.out = append(c.out, '[')
	for i, v := range list {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		if !c.value(append(path, i), parent, f, item, v) {
			return false
		}
	}
	c.out = append(c.out, ']')
	return true
}

// composite appends an object, of the type that v has.
func (c *completer) composite(path []any, def *ast.Definition, f graphql.CollectedField, v any) bool {
	object := c.object(def, v)
	if object == nil {
		c.fail(path, nil, fmt.Sprintf("Can't resolve value (%s) : type mismatch error, expected type %s", slashed(path), def.Name), nil)
		return false
	}
	c.out = append(c.out, '{')
	for i, field := range c.fields(f.Selections, object) {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, encode(field.Alias)...)
		c.out = append(c.out, ':')
		if !c.member(append(path, field.Alias), object, field, v) {
			return false
		}
	}
	c.out = append(c.out, '}')
	return true
}

// member appends one field of an object.
func (c *completer) member(path []any, object *ast.Definition, f graphql.CollectedField, source any) bool {
	if f.Name == "__typename" {
		c.out = append(c.out, encode(object.Name)...)
		return true
	}
	if !c.allowed(path, object, f) {
		if f.Definition.Type.NonNull {
			return false
		}
		c.out = append(c.out, "null"...)
		return true
	}
	var v any
	switch s := source.(type) {
	case introspected:
		args, e := c.arguments(f, f.Name)
		if e != nil {
			c.errors = append(c.errors, *e)
		}
		v = s.field(f.Name, args)
	case map[string]any:
		v = s[f.Name]
	}
	return c.value(path, object, f, f.Definition.Type, v)
}

// allowed checks the caller's right to a field and notes the denial. What
// introspection returns is for everybody the API lets in.
func (c *completer) allowed(path []any, parent *ast.Definition, f graphql.CollectedField) bool {
	if c.unchecked || parent.BuiltIn || admits(parent, f.Definition, c.caller) {
		return true
	}
	c.fail(path, f.Position, denial(parent, f.Name), &resolverError{ErrorType: "Unauthorized"})
	return false
}

// object returns the object type of a value: an interface's or union's value
// tells by its __typename.
func (o *operation) object(def *ast.Definition, v any) *ast.Definition {
	if _, ok := v.(introspected); ok {
		return def
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	if def.Kind == ast.Object {
		return def
	}
	name, _ := members["__typename"].(string)
	for _, possible := range o.schema.GetPossibleTypes(def) {
		if possible.Name == name {
			return possible
		}
	}
	return nil
}

// typeName is a type as AppSync's messages have it: without its exclamation
// mark.
func typeName(t *ast.Type) string {
	bare := *t
	bare.NonNull = false
	return bare.String()
}
