package appsync

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/aws/aws-lambda-go/lambda/messages"
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

// caller is who a request is from and the headers it came with, as resolvers
// see them.
type caller struct {
	identity *wire.Identity
	headers  map[string]string
}

// execute runs a query or a mutation: the fields of a query in parallel, those
// of a mutation one after the other.
func (s *Server) execute(ctx context.Context, op *operation, by caller) response {
	root := s.schema.Query
	if op.def.Operation == ast.Mutation {
		root = s.schema.Mutation
	}
	fields := op.fields(op.def.SelectionSet, root)
	var group errgroup.Group
	group.SetLimit(parallelResolvers)
	if op.def.Operation == ast.Mutation {
		group.SetLimit(1)
	}
	answers := make([]completer, len(fields))
	nulled := make([]bool, len(fields))
	for i, f := range fields {
		answers[i] = completer{operation: op, caller: by.identity}
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
		return response{Errors: []fieldError{{Message: "The response is larger than 5 MB."}}}
	}
	if !slices.Contains(nulled, true) {
		out.Data = append(data, '}')
	}
	return out
}

// root resolves one root field into c, and tells subscribers if it is a
// mutation that succeeded. It returns false if null came out of a non-null
// field.
func (s *Server) root(ctx context.Context, c *completer, root *ast.Definition, f graphql.CollectedField, by caller) (ok bool) {
	path := []any{f.Alias}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			c.out = append(c.out[:0], "null"...)
			c.fail(path, f.Position, internalFailure.Message, &resolverError{ErrorType: internalFailure.ErrorType})
			ok = !f.Definition.Type.NonNull
		}
	}()
	if f.Name == "__typename" {
		return c.member(path, root, f, nil)
	}
	var v any
	if args, e := c.arguments(f, f.Name); e != nil {
		c.errors = append(c.errors, *e)
	} else if f.Name == "__schema" || f.Name == "__type" {
		return c.value(path, root, f, f.Definition.Type, c.introspect(f.Name, args))
	} else if c.allowed(path, root, f) {
		v, e = s.resolve(ctx, c.operation, root, f, args, by)
		if e == nil {
			ok := c.value(path, root, f, f.Definition.Type, v)
			if ok && root == s.schema.Mutation && string(c.out) != "null" {
				s.hub.publish(f.Name, c.selected(f.Definition.Type, f.Selections, v))
			}
			return ok
		}
		e.Path = path
		c.errors = append(c.errors, *e)
	}
	c.out = append(c.out, "null"...)
	return !f.Definition.Type.NonNull
}

// resolve invokes the handler for one field.
func (s *Server) resolve(ctx context.Context, op *operation, parent *ast.Definition, f graphql.CollectedField, args map[string]any, by caller) (any, *fieldError) {
	payload := encode(wire.Event{
		Arguments: encode(args),
		Identity:  by.identity,
		Request:   wire.Request{Headers: by.headers},
		Info: wire.Info{
			SelectionSetList:    op.selectionList(f.Definition.Type, f.Selections, "", []string{}),
			SelectionSetGraphQL: selectionGraphQL(f.Selections),
			ParentTypeName:      parent.Name,
			FieldName:           f.Name,
			Variables:           op.rawVariables,
		},
		Stash: json.RawMessage("{}"),
	})
	result, err := s.invoke(ctx, payload)
	if err != nil {
		errorType, message := lambdaError(err)
		return nil, &fieldError{Locations: locations(f.Position), Message: message, resolverError: &resolverError{ErrorType: errorType}}
	}
	var v any
	if err := decodeJSON(result, &v); err != nil {
		s.log.Error("resolver returned no JSON", slog.String("field", f.Name), slog.Any("error", err))
		return nil, &fieldError{Locations: locations(f.Position), Message: "The function's result is not JSON.", resolverError: &resolverError{ErrorType: "MappingTemplate"}}
	}
	return v, nil
}

// invoke calls the handler, and gives up on it after the time AppSync allows.
// The handler is not told when the client goes away: a mutation that has
// begun is finished and published.
func (s *Server) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.invokeTimeout)
	defer cancel()
	type answer struct {
		result []byte
		err    error
	}
	done := make(chan answer, 1)
	s.running.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				s.panicked(p)
				done <- answer{err: messages.InvokeResponse_Error{Type: "Lambda:Unhandled", Message: "The function panicked."}}
			}
		}()
		result, err := s.invoker.Invoke(ctx, payload)
		done <- answer{result, err}
	})
	select {
	case a := <-done:
		return a.result, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
