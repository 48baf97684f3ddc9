package appsync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"golang.org/x/sync/errgroup"

	"presence/internal/wire"
)

// parallelResolvers is how many fields of one query run at once. AppSync
// publishes no figure; without one, aliases could flood the handler.
const parallelResolvers = 32

// Invoker is called with what AppSync would send to a Lambda function and
// returns what the function would. It has the shape of aws-lambda-go's
// lambda.Handler and must be safe for concurrent use.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// response is a GraphQL answer.
type response struct {
	Data   json.RawMessage `json:"data"`
	Errors []fieldError    `json:"errors,omitempty"`
}

// execute runs a query or a mutation: the fields of a query in parallel, those
// of a mutation one after the other.
func (s *Server) execute(ctx context.Context, op *operation, by caller) response {
	root := s.schema.Query
	if op.def.Operation == ast.Mutation {
		root = s.schema.Mutation
	}
	fields := op.fields(op.def.SelectionSet, root)
	if e := tooManyFields(fields); e != nil {
		return response{Errors: []fieldError{*e}}
	}
	budget := newBudget(maxResponse)
	var group errgroup.Group
	group.SetLimit(parallelResolvers)
	if op.def.Operation == ast.Mutation {
		group.SetLimit(1)
	}
	answers := make([]completer, len(fields))
	nulled := make([]bool, len(fields))
	for i, f := range fields {
		answers[i] = completer{operation: op, caller: by.identity, budget: budget, weight: 1}
		group.Go(func() error {
			nulled[i] = !s.root(ctx, &answers[i], root, f, by)
			return nil
		})
	}
	_ = group.Wait() // No function returns an error.

	var out response
	full := false
	data := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			data = append(data, ',')
		}
		data = append(data, encode(f.Alias)...)
		data = append(data, ':')
		data = append(data, answers[i].out...)
		out.Errors = append(out.Errors, answers[i].errors...)
		full = full || answers[i].full
	}
	if full || len(data) > maxResponse {
		return response{Errors: []fieldError{budget.exceeded()}}
	}
	if !slices.Contains(nulled, true) {
		out.Data = append(data, '}')
	}
	return out
}

// tooManyFields refuses what would run more resolvers than the deployed API
// does, before any is run. The type is AppSync's: "Configuration limits".
func tooManyFields(fields []graphql.CollectedField) *fieldError {
	resolvers, introspections := 0, 0
	for _, f := range fields {
		switch {
		case f.Name == "__typename":
		case strings.HasPrefix(f.Name, "__"):
			introspections++
		default:
			resolvers++
		}
	}
	switch {
	case resolvers > wire.ResolverCountLimit:
		return &fieldError{Message: "Resolver invocation limit reached.", resolverError: &resolverError{ErrorType: "ResolverExecutionLimitReached"}}
	case introspections > maxIntrospections:
		return &fieldError{Message: fmt.Sprintf("The query selects __schema and __type %d times; at most %d are allowed.", introspections, maxIntrospections)}
	}
	return nil
}

// root resolves one root field into c, and tells subscribers if it is a
// mutation that succeeded. It returns false if null came out of a non-null
// field.
func (s *Server) root(ctx context.Context, c *completer, root *ast.Definition, f graphql.CollectedField, by caller) (ok bool) {
	path := []any{f.Alias}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			c.fail(path, f.Position, internalFailure.Message, &resolverError{ErrorType: internalFailure.ErrorType})
			ok = c.null(f)
		}
	}()
	if f.Name == "__typename" {
		return c.member(path, root, f, nil)
	}
	args, wrong := c.arguments(f, f.Name)
	switch {
	case wrong != nil:
		c.errors = append(c.errors, *wrong)
		return c.null(f)
	case f.Name == "__schema" || f.Name == "__type":
		defer turn(by.quota.work)()
		c.weight = introspectionWeight
		return c.value(path, root, f, f.Definition.Type, c.introspect(f.Name, args))
	case !c.allowed(path, root, f):
		return c.null(f)
	case !c.budget.take(0):
		c.full = true
		return c.null(f)
	}
	call := s.newCall(c.operation, root, f, args, by)
	done := turn(by.quota.calls)
	v, err := s.resolve(ctx, call)
	done()
	for _, e := range call.Appended {
		c.errors = append(c.errors, raised(path, f.Position, e))
	}
	if err != nil {
		c.errors = append(c.errors, raised(path, f.Position, err))
		return c.null(f)
	}
	ok = c.value(path, root, f, f.Definition.Type, v)
	if ok && root == s.schema.Mutation {
		s.hub.publish(f.Name, c.out)
	}
	return ok
}

// null makes a root field null. It returns false if the field may not be.
func (c *completer) null(f graphql.CollectedField) bool {
	c.out = append(c.out[:0], "null"...)
	return !f.Definition.Type.NonNull
}
