package appsync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// AppSync's limits on one document: "AWS AppSync endpoints and quotas" and
// "Configuration limits" in its guides. Depth is what an API can be configured
// to at most; unset, AppSync has none.
const (
	maxTokens = 15_000
	maxDepth  = 75
	// maxSelected is how many fields info.selectionSetList lists: fragments can
	// make a short document select fields without end.
	maxSelected = 10_000
	// maxFragments is ours: the validator compares each pair of them.
	maxFragments = 500
	// maxErrors is how many mistakes in one document are told, as in graphql-java.
	maxErrors = 100
)

// request is the body of a POST, the query of a GET, and the data of a start.
type request struct {
	Query         *string         `json:"query"`
	OperationName string          `json:"operationName"`
	Variables     json.RawMessage `json:"variables"`
}

func decodeRequest(body []byte) (request, *requestError) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return req, malformed("Unable to parse GraphQL query.", "The request is not a JSON object of query, variables and operationName: "+err.Error()+".")
	}
	if req.Query == nil {
		return req, malformed("Unable to parse GraphQL query.", "The request has no query.")
	}
	return req, nil
}

// decodeJSON is json.Unmarshal that leaves numbers as they are written.
func decodeJSON(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// operation is one operation of a valid document, with its variables.
type operation struct {
	schema *ast.Schema
	def    *ast.OperationDefinition
	// rawVariables are the variables as they came, always an object.
	rawVariables json.RawMessage
	// collect is what gqlgen merges selections by. It caches, and is safe for
	// concurrent use.
	collect *graphql.OperationContext
}

// prepare parses and validates a request. A document that is none is a
// *requestError; one that does not fit the schema gives fieldErrors.
func prepare(schema *ast.Schema, ruleSet *rules.Rules, req request) (*operation, []fieldError, *requestError) {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: *req.Query}, maxTokens)
	if err == nil && len(doc.Operations) == 0 {
		err = errors.New("the document has no operation")
	}
	if err != nil {
		return nil, nil, malformed("Unable to parse GraphQL query.", err.Error())
	}
	if depth(doc) > maxDepth {
		return nil, []fieldError{{
			Message:       fmt.Sprintf("The query is nested deeper than %d levels.", maxDepth),
			resolverError: &resolverError{ErrorType: "QueryDepthLimitReached"},
		}}, nil
	}
	if len(doc.Fragments) > maxFragments {
		return nil, []fieldError{{Message: fmt.Sprintf("The query defines %d fragments; at most %d are allowed.", len(doc.Fragments), maxFragments)}}, nil
	}
	for _, op := range doc.Operations {
		op.SelectionSet = merge(op.SelectionSet)
	}
	for _, fragment := range doc.Fragments {
		fragment.SelectionSet = merge(fragment.SelectionSet)
	}
	if list := validator.ValidateWithRules(schema, doc, ruleSet); len(list) > 0 {
		invalid := make([]fieldError, min(len(list), maxErrors))
		for i, e := range list[:len(invalid)] {
			invalid[i] = validationError(doc, e)
		}
		return nil, invalid, nil
	}
	def := doc.Operations.ForName(req.OperationName)
	if def == nil {
		message := fmt.Sprintf("Unknown operation named '%s'.", req.OperationName)
		if req.OperationName == "" {
			message = "Must provide operation name if query contains multiple operations."
		}
		return nil, []fieldError{{Message: message}}, nil
	}
	raw, values := json.RawMessage("{}"), map[string]any{}
	if len(req.Variables) > 0 && string(req.Variables) != "null" {
		raw = req.Variables
		if err := decodeJSON(raw, &values); err != nil {
			return nil, nil, malformed("Unable to parse GraphQL query.", "The variables are not a JSON object.")
		}
	}
	coerced, err := validator.VariableValues(schema, def, values)
	if err != nil {
		return nil, []fieldError{variableError(def, err)}, nil
	}
	if e := checkConditions(schema, doc, coerced); e != nil {
		return nil, []fieldError{*e}, nil
	}
	o := &operation{schema: schema, def: def, rawVariables: raw}
	o.collect = &graphql.OperationContext{Doc: doc, Operation: def, Variables: coerced}
	return o, nil, nil
}

// checkConditions refuses an explicit null for the variable of @skip and
// @include. The validator lets it pass if the variable has a default, and
// gqlgen panics over it.
func checkConditions(schema *ast.Schema, doc *ast.QueryDocument, values map[string]any) (e *fieldError) {
	var events validator.Events
	events.OnDirective(func(_ *validator.Walker, d *ast.Directive) {
		condition := d.Arguments.ForName("if")
		if condition == nil || condition.Value.Kind != ast.Variable {
			return
		}
		if value, ok := values[condition.Value.Raw]; ok && value == nil {
			e = &fieldError{Locations: locations(d.Position), Message: fmt.Sprintf("Variable '%s' has coerced Null value for NonNull type 'Boolean!'", condition.Value.Raw)}
		}
	})
	validator.Walk(schema, doc, &events)
	return e
}

// variableError puts an error about a variable's value in AppSync's words.
func variableError(def *ast.OperationDefinition, err error) fieldError {
	var e *gqlerror.Error
	if !errors.As(err, &e) || len(e.Path) < 2 {
		return fieldError{Message: err.Error()}
	}
	name := fmt.Sprint(e.Path[1])
	variable := def.VariableDefinitions.ForName(name)
	if variable == nil {
		return fieldError{Message: e.Message}
	}
	message := fmt.Sprintf("Variable '%s' has an invalid value : %s.", name, e.Message)
	if len(e.Path) == 2 && (e.Message == "must be defined" || e.Message == "cannot be null") {
		message = fmt.Sprintf("Variable '%s' has coerced Null value for NonNull type '%s'", name, variable.Type)
	}
	return fieldError{Locations: locations(variable.Position), Message: message}
}

// merge makes one of selections that say the same. The validator compares each
// pair of them, which for the thousands a request may repeat takes seconds.
func merge(set ast.SelectionSet) ast.SelectionSet {
	first := map[string]*ast.SelectionSet{}
	out := set[:0]
	for _, selection := range set {
		var key string
		var inner *ast.SelectionSet
		switch s := selection.(type) {
		case *ast.Field:
			if len(s.Directives) > 0 {
				break
			}
			var b strings.Builder
			b.WriteString(s.Alias + ":" + s.Name)
			for _, argument := range s.Arguments {
				b.WriteString(" " + argument.Name + ":" + argument.Value.String())
			}
			// A leaf is never merged with a field that has a selection: one of the
			// two is a mistake to be told.
			if len(s.SelectionSet) > 0 {
				b.WriteByte('{')
			}
			key, inner = b.String(), &s.SelectionSet
		case *ast.InlineFragment:
			if len(s.Directives) == 0 {
				key, inner = "..."+s.TypeCondition, &s.SelectionSet
			}
		}
		if inner != nil {
			if same := first[key]; same != nil {
				*same = append(*same, *inner...)
				continue
			}
			first[key] = inner
		}
		out = append(out, selection)
	}
	for _, selection := range out {
		switch s := selection.(type) {
		case *ast.Field:
			s.SelectionSet = merge(s.SelectionSet)
		case *ast.InlineFragment:
			s.SelectionSet = merge(s.SelectionSet)
		}
	}
	return out
}

// depth returns how deep a document's selections nest. Each fragment is walked
// once; one that contains itself is left to the validator.
func depth(doc *ast.QueryDocument) int {
	known := map[string]int{}
	var of func(ast.SelectionSet) int
	of = func(set ast.SelectionSet) int {
		deepest := 0
		for _, selection := range set {
			d := 0
			switch s := selection.(type) {
			case *ast.Field:
				d = 1 + of(s.SelectionSet)
			case *ast.InlineFragment:
				d = of(s.SelectionSet)
			case *ast.FragmentSpread:
				fragment := doc.Fragments.ForName(s.Name)
				if fragment == nil {
					continue
				}
				if _, walked := known[s.Name]; !walked {
					known[s.Name] = 0
					known[s.Name] = of(fragment.SelectionSet)
				}
				d = known[s.Name]
			}
			deepest = max(deepest, d)
		}
		return deepest
	}
	deepest := 0
	for _, op := range doc.Operations {
		deepest = max(deepest, of(op.SelectionSet))
	}
	return deepest
}

// fields returns the merged fields of a selection on an object type.
func (o *operation) fields(set ast.SelectionSet, object *ast.Definition) []graphql.CollectedField {
	satisfies := append([]string{object.Name}, object.Interfaces...)
	for _, union := range o.schema.Implements[object.Name] {
		satisfies = append(satisfies, union.Name)
	}
	return graphql.CollectFields(o.collect, set, satisfies)
}

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
			coerced, reason := o.input(def.Type, value)
			if reason != "" {
				wrong := invalid("WrongType", fmt.Sprintf("argument '%s' is not a valid '%s': %s", def.Name, def.Type, reason), f.Position, path)
				return nil, &wrong
			}
			args[def.Name] = coerced
		}
	}
	return args, nil
}

// input coerces a value to an input type, whose AWS scalars gqlparser does not
// know: the reason is empty if it fits.
func (o *operation) input(t *ast.Type, value any) (coerced any, reason string) {
	if value == nil {
		if t.NonNull {
			return nil, "it is null."
		}
		return nil, ""
	}
	if t.Elem != nil {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		out := make([]any, len(list))
		for i, item := range list {
			if out[i], reason = o.input(t.Elem, item); reason != "" {
				return nil, reason
			}
		}
		return out, ""
	}
	def := o.schema.Types[t.NamedType]
	if def.Kind == ast.InputObject {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, "it is no object."
		}
		out := make(map[string]any, len(object))
		for _, field := range def.Fields {
			if item, ok := object[field.Name]; ok {
				if out[field.Name], reason = o.input(field.Type, item); reason != "" {
					return nil, reason
				}
			} else if field.DefaultValue != nil {
				out[field.Name], _ = field.DefaultValue.Value(nil)
			}
		}
		return out, ""
	}
	text, reason := leaf(def, value)
	return json.RawMessage(text), reason
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
