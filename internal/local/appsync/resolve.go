package appsync

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/local/appsync/appsyncjs"
	"presence/internal/wire"
)

// caller is who a request is from, as resolvers see it.
type caller struct {
	identity *wire.Identity
	// json is the identity, and request what ctx.request is, both as JSON.
	json    []byte
	request func() []byte
	quota   *quota
}

// newCaller makes of a request's address and header what resolvers see. Cookies
// are left out, as AppSync does.
func newCaller(host string, identity *wire.Identity, header http.Header, q *quota) caller {
	if identity != nil && identity.SourceIP == nil {
		withIP := *identity
		withIP.SourceIP = []string{host}
		identity = &withIP
	}
	return caller{identity, encode(identity), sync.OnceValue(func() []byte {
		headers := make(map[string]string, len(header)+1)
		for name, values := range header {
			if name != "Cookie" {
				headers[strings.ToLower(name)] = strings.Join(values, ",")
			}
		}
		forwarded := append(header.Values("X-Forwarded-For"), host)
		headers["x-forwarded-for"] = strings.Join(forwarded, ", ")
		return encode(wire.Request{Headers: headers})
	}), q}
}

// newCall makes the context of a field's resolver.
func (s *Server) newCall(op *operation, parent *ast.Definition, f graphql.CollectedField, args map[string]any, by caller) *appsyncjs.Context {
	return &appsyncjs.Context{
		Parent: parent.Name, Field: f.Name,
		Arguments: encode(args),
		Identity:  by.json,
		Request:   by.request,
		Variables: func() []byte { return op.rawVariables },
		Selection: func() ([]string, string) {
			return op.selectionList(f.Definition.Type, f.Selections, "", []string{}), selectionGraphQL(f.Selections)
		},
	}
}

// resolve runs a field's resolver: its request, the function, its response.
func (s *Server) resolve(ctx context.Context, call *appsyncjs.Context) (any, *appsyncjs.Error) {
	payload, err := s.code.Request(call)
	if err != nil {
		return nil, s.codeError(call, err)
	}
	result, err := s.invoke(ctx, payload)
	switch {
	case err != nil:
		call.Failed = lambdaError(err)
	case !json.Valid(result):
		s.log.Error("the function's result is not JSON", slog.String("field", call.Field))
		return nil, &appsyncjs.Error{Type: "MappingTemplate", Message: "The function's result is not JSON."}
	}
	call.Result = result
	answer, err := s.code.Response(call)
	if err != nil {
		return nil, s.codeError(call, err)
	}
	var v any
	if err := decodeJSON(answer, &v); err != nil {
		return nil, s.codeError(call, err)
	}
	return v, nil
}

// codeError returns what the code raised. Anything else is a defect of the code.
func (s *Server) codeError(call *appsyncjs.Context, err error) *appsyncjs.Error {
	//nolint:errorlint // The code's own errors are never wrapped.
	if raised, ok := err.(*appsyncjs.Error); ok {
		return raised
	}
	s.log.Error("resolver code failed", slog.String("field", call.Field), slog.Any("error", err))
	return &appsyncjs.Error{Type: "Code", Message: "Runtime Error", Info: encode(err.Error())}
}

// raised is the entry in errors of what a resolver raised or appended.
func raised(path []any, at *ast.Position, e *appsyncjs.Error) fieldError {
	return fieldError{
		Path: path, Locations: locations(at), Message: e.Message,
		resolverError: &resolverError{ErrorType: e.Type, Data: e.Data, ErrorInfo: e.Info},
	}
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
