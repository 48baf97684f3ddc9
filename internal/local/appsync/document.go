package appsync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
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
	// source is the document.
	source string
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
	if invalid := validate(schema, ruleSet, doc); invalid != nil {
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
	o := &operation{schema: schema, def: def, source: *req.Query, rawVariables: json.RawMessage("{}")}
	values := map[string]any{}
	if len(req.Variables) > 0 && string(req.Variables) != "null" {
		o.rawVariables = req.Variables
		if err := decodeJSON(req.Variables, &values); err != nil {
			return nil, nil, malformed("Unable to parse GraphQL query.", "The variables are not a JSON object.")
		}
	}
	coerced, wrong := variables(schema, def, values)
	if wrong != nil {
		return nil, []fieldError{*wrong}, nil
	}
	if e := checkConditions(schema, doc, coerced); e != nil {
		return nil, []fieldError{*e}, nil
	}
	o.collect = &graphql.OperationContext{Doc: doc, Operation: def, Variables: coerced}
	return o, nil, nil
}

// validate returns what is wrong with a document, or nil. What costs more to
// validate than AppSync's limits allow is refused before.
func validate(schema *ast.Schema, ruleSet *rules.Rules, doc *ast.QueryDocument) []fieldError {
	if depth(doc) > maxDepth {
		return []fieldError{{
			Message:       fmt.Sprintf("The query is nested deeper than %d levels.", maxDepth),
			resolverError: &resolverError{ErrorType: "QueryDepthLimitReached"},
		}}
	}
	if len(doc.Fragments) > maxFragments {
		return []fieldError{{Message: fmt.Sprintf("The query defines %d fragments; at most %d are allowed.", len(doc.Fragments), maxFragments)}}
	}
	for _, op := range doc.Operations {
		op.SelectionSet = merge(op.SelectionSet)
	}
	for _, fragment := range doc.Fragments {
		fragment.SelectionSet = merge(fragment.SelectionSet)
	}
	list := validator.ValidateWithRules(schema, doc, ruleSet)
	var invalid []fieldError
	for _, e := range list[:min(len(list), maxErrors)] {
		invalid = append(invalid, validationError(doc, e))
	}
	return invalid
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
