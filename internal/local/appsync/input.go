package appsync

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// arguments returns a field's arguments: those left out are absent, those
// given as null are nil.
func (o *operation) arguments(f graphql.CollectedField, path string) (args map[string]any, e *fieldError) {
	// gqlparser panics over literals the validator lets pass, such as an ID
	// written as a number beyond 64 bits.
	defer func() {
		if p := recover(); p != nil {
			wrong := invalid("WrongType", fmt.Sprintf("arguments of field '%s' are not valid: %v", f.Name, p), f.Position, path)
			args, e = nil, &wrong
		}
	}()
	args = f.ArgumentMap(o.collect.Variables)
	if f.ObjectDefinition.BuiltIn || strings.HasPrefix(f.Name, "__") {
		return args, nil // Introspection takes Go values.
	}
	for _, def := range f.Definition.Arguments {
		if value, ok := args[def.Name]; ok {
			coerced, err := inputOf(o.schema, def.Type, value, "")
			if err != nil {
				wrong := invalid("WrongType", fmt.Sprintf("argument '%s' is not a valid '%s': %s", def.Name, def.Type, err), f.Position, path)
				return nil, &wrong
			}
			args[def.Name] = coerced
		}
	}
	return args, nil
}

// variables coerces the values of an operation's variables once, so that its
// fields share them. The sentences are AppSync's, see docs/local-appsync.md.
func variables(schema *ast.Schema, def *ast.OperationDefinition, given map[string]any) (values map[string]any, wrong *fieldError) {
	var at *ast.VariableDefinition
	defer func() {
		// A default that gqlparser cannot represent, see arguments.
		if p := recover(); p != nil {
			values, wrong = nil, &fieldError{Locations: locations(at.Position), Message: fmt.Sprintf("Variable '%s' has an invalid value. Its default is not a valid %s.", at.Variable, at.Type)}
		}
	}()
	values = make(map[string]any, len(def.VariableDefinitions))
	for _, at = range def.VariableDefinitions {
		value, there := given[at.Variable]
		if !there && at.DefaultValue != nil {
			value, _ = at.DefaultValue.Value(nil)
			there = true
		}
		switch {
		case value == nil && at.Type.NonNull:
			return nil, &fieldError{Locations: locations(at.Position), Message: nullVariable(at.Variable, at.Type)}
		case !there:
			continue
		}
		coerced, err := inputOf(schema, at.Type, value, at.Variable)
		if err != nil {
			return nil, variableError(at, err)
		}
		values[at.Variable] = coerced
	}
	return values, nil
}

func nullVariable(name string, t *ast.Type) string {
	return fmt.Sprintf("Variable '%s' has coerced Null value for NonNull type '%s'", name, t)
}

// variableError names the variable and its type. A mistake inside of an input
// object is told by the name of its field, and in which variable it is.
func variableError(def *ast.VariableDefinition, err error) *fieldError {
	var e *inputError
	switch {
	case !errors.As(err, &e):
		return &fieldError{Locations: locations(def.Position), Message: err.Error()}
	case e.undefined != "":
		// aws-appsync-community issue 273, trailing space and all.
		return &fieldError{Message: fmt.Sprintf("The variables input contains a field that is not defined for input object type '%s' ", e.undefined)}
	case e.null != nil:
		// AppSync names the outer variable here: aws-appsync-community issue 406.
		return &fieldError{Locations: locations(def.Position), Message: nullVariable(def.Variable, e.null)}
	}
	message := fmt.Sprintf("Variable '%s' has an invalid value. %s", e.field, e.reason)
	if e.field != def.Variable {
		message += fmt.Sprintf(" It is a field of the variable '%s' of type '%s'.", def.Variable, def.Type)
	}
	return &fieldError{Locations: locations(def.Position), Message: message}
}

// inputError is why a value is not of an input type.
type inputError struct {
	// field is the name of the variable, or of the field of an input object.
	field, reason string
	// null is the type that null was given for, and undefined the input object
	// that has not the field given.
	null      *ast.Type
	undefined string
}

// Error implements error.
func (e *inputError) Error() string {
	switch {
	case e.null != nil:
		return fmt.Sprintf("it is null where '%s' is wanted.", e.null)
	case e.undefined != "":
		return fmt.Sprintf("it has a field that is not defined for input object type '%s'.", e.undefined)
	}
	return e.reason
}

// inputOf coerces a value, of JSON or a literal, to an input type. What comes
// out is JSON again, and is not changed by a second time. field names the
// variable or the input field that the value is of.
func inputOf(schema *ast.Schema, t *ast.Type, value any, field string) (coerced any, err error) {
	if value == nil {
		if t.NonNull {
			return nil, &inputError{null: t}
		}
		return nil, nil
	}
	if t.Elem != nil {
		return inputList(schema, t.Elem, value, field)
	}
	def := schema.Types[t.NamedType]
	if def.Kind == ast.InputObject {
		return inputObject(schema, def, value, field)
	}
	text, reason := inputLeaf(def, value)
	if reason != "" {
		return nil, &inputError{field: field, reason: reason}
	}
	return text, nil
}

// inputList coerces a list. A single value is a list of one: "List" in the
// GraphQL specification, section "Input Coercion".
func inputList(schema *ast.Schema, item *ast.Type, value any, field string) (coerced any, err error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	out := make([]any, len(list))
	for i, v := range list {
		if out[i], err = inputOf(schema, item, v, field); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func inputObject(schema *ast.Schema, def *ast.Definition, value any, name string) (coerced any, err error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &inputError{field: name, reason: cannotParse(value, def.Name)}
	}
	for member := range object {
		if def.Fields.ForName(member) == nil {
			return nil, &inputError{undefined: def.Name}
		}
	}
	out := make(map[string]any, len(object))
	for _, field := range def.Fields {
		item, there := object[field.Name]
		if !there && field.DefaultValue != nil {
			item, _ = field.DefaultValue.Value(nil)
			there = true
		}
		if !there && !field.Type.NonNull {
			continue
		}
		if out[field.Name], err = inputOf(schema, field.Type, item, field.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// inputLeaf coerces a scalar or an enum by the rules for input, which are
// stricter than those for results: a number is never text, nor text a number.
func inputLeaf(def *ast.Definition, value any) (coerced any, reason string) {
	if n, ok := value.(int64); ok {
		value = json.Number(strconv.FormatInt(n, 10))
	} else if n, ok := value.(float64); ok {
		value = json.Number(strconv.FormatFloat(n, 'g', -1, 64))
	}
	number, isNumber := value.(json.Number)
	_, isText := value.(string)
	_, isBoolean := value.(bool)
	switch {
	case def.Kind == ast.Enum, def.Name == "AWSJSON":
	case def.Name == "Boolean":
		if !isBoolean {
			return nil, cannotParse(value, "Boolean")
		}
	case def.Name == "Int", def.Name == "AWSTimestamp":
		n, err := number.Float64()
		if !isNumber || err != nil || n != math.Trunc(n) {
			return nil, cannotParse(value, def.Name)
		}
	case def.Name == "Float":
		if !isNumber {
			return nil, cannotParse(value, "Float")
		}
	case def.Name == "ID":
		// Text, or a whole number as it is written.
		if !isText && (!isNumber || strings.ContainsAny(number.String(), ".eE")) {
			return nil, cannotParse(value, "ID")
		}
	case !isText:
		return nil, cannotParse(value, def.Name)
	}
	text, reason := leaf(def, value)
	if reason != "" {
		return nil, strings.Replace(reason, "Unable to serialize", "Unable to parse", 1)
	}
	_ = decodeJSON(text, &coerced) // leaf has encoded it.
	return coerced, ""
}

// maxQuoted is how many bytes of a value an error repeats.
const maxQuoted = 100

func cannotParse(value any, noun string) string {
	text := string(encode(value))
	if s, ok := value.(string); ok {
		text = s
	}
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return fmt.Sprintf("Unable to parse `%s` as a valid %s.", text, noun)
}
