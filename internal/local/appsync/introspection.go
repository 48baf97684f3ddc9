package appsync

import (
	"reflect"
	"strings"

	"github.com/99designs/gqlgen/graphql/introspection"
)

// introspected adapts one of gqlgen's introspection types to the executor.
type introspected struct{ object reflect.Value }

// field reads a field of __Schema, __Type and so on. gqlgen's types name their
// methods and struct fields as the specification does, but for the two lists
// that hide what is deprecated.
func (i introspected) field(name string, args map[string]any) any {
	goName := strings.ToUpper(name[:1]) + name[1:]
	if name == "args" || name == "inputFields" {
		goName = "Visible" + goName
	}
	method := i.object.MethodByName(goName)
	if !method.IsValid() {
		return introspect(i.object.Elem().FieldByName(goName))
	}
	var in []reflect.Value
	if method.Type().NumIn() == 1 {
		deprecated, _ := args["includeDeprecated"].(bool)
		in = append(in, reflect.ValueOf(deprecated))
	}
	return introspect(method.Call(in)[0])
}

// introspect turns what gqlgen returns into values the executor completes:
// nil, strings, booleans, lists and [introspected] objects.
func introspect(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if v.Elem().Kind() == reflect.Struct {
			return introspected{v}
		}
		return v.Elem().Interface()
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = introspect(v.Index(i))
		}
		return list
	case reflect.Struct:
		return introspected{v.Addr()}
	default:
		return v.Interface()
	}
}

func (o *operation) introspect(field string, args map[string]any) any {
	if field == "__schema" {
		return introspect(reflect.ValueOf(introspection.WrapSchema(o.schema)))
	}
	name, _ := args["name"].(string)
	return introspect(reflect.ValueOf(introspection.WrapTypeFromDef(o.schema, o.schema.Types[name])))
}
