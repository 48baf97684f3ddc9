package appsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"presence"
	"presence/internal/local/appsync/appsyncjs"
	"presence/internal/wire"
)

// unauthorized is AppSync's sentence for callers it does not know.
const unauthorized = "You are not authorized to make this call."

// internalFailure is what clients are told of a defect of ours.
var internalFailure = wire.Error{ErrorType: "InternalFailure", Message: "An internal error occurred."}

// panicked logs a panic, which a goroutine has recovered from because it is
// one caller's and not everybody's.
func (s *Server) panicked(p any) {
	s.log.Error("recovered from a panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
}

// requestError is a request that is refused as a whole.
type requestError struct {
	status int
	wire.Error
}

func malformed(message string, info any) *requestError {
	return &requestError{http.StatusBadRequest, wire.Error{ErrorType: "MalformedHttpRequestException", Message: message, ErrorInfo: info}}
}

// refusal turns an error of [Options.Authorize] into what AppSync answers.
func refusal(err error) *requestError {
	e := presence.AsError(err)
	var signature wire.SignatureError
	if errors.As(err, &signature) {
		return &requestError{http.StatusForbidden, wire.Error{ErrorType: string(signature), Message: e.Message}}
	}
	switch e.Code {
	case presence.Unauthorized:
		return &requestError{http.StatusUnauthorized, wire.Error{ErrorType: "UnauthorizedException", Message: cmp.Or(e.Message, unauthorized)}}
	case presence.Unavailable:
		return &requestError{http.StatusServiceUnavailable, wire.Error{ErrorType: "ServiceUnavailableException", Message: e.Message}}
	default:
		return &requestError{http.StatusInternalServerError, wire.Error{ErrorType: "InternalFailure", Message: e.Message}}
	}
}

// fieldError is an entry of errors where the request was understood. AppSync
// sends data, errorType and errorInfo for what resolvers and authorization
// say, and leaves them out for what the GraphQL engine says.
type fieldError struct {
	Path      []any           `json:"path"`
	Locations []wire.Location `json:"locations"`
	Message   string          `json:"message"`
	*resolverError
}

type resolverError struct {
	Data      any    `json:"data"`
	ErrorType string `json:"errorType"`
	ErrorInfo any    `json:"errorInfo"`
}

func locations(p *ast.Position) []wire.Location {
	if p == nil {
		return nil
	}
	return []wire.Location{{Line: p.Line, Column: p.Column}}
}

// lambdaError returns a failed invocation as ctx.error has it: the type's name,
// unless the error is an InvokeResponse_Error value, which names its own. See
// lambda/errors.go of aws-lambda-go.
func lambdaError(err error) *appsyncjs.Error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &appsyncjs.Error{Type: "Lambda:ExecutionTimeoutException", Message: "Execution timed out."}
	}
	//nolint:errorlint // The runtime asserts, too: a wrapped value loses its type there.
	if e, ok := err.(messages.InvokeResponse_Error); ok {
		return &appsyncjs.Error{Type: e.Type, Message: e.Message}
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return &appsyncjs.Error{Type: t.Name(), Message: err.Error()}
}

// validationTypes maps the rules of gqlparser to the names AppSync's engine,
// graphql-java, has for them. Where a pattern is given, the sentence is
// rewritten to graphql-java's, too.
var validationTypes = map[string]struct {
	name    string
	pattern *regexp.Regexp
	message string
}{
	"FieldsOnCorrectType":          {"FieldUndefined", regexp.MustCompile(`^Cannot query field "(\w+)" on type "(\w+)".*$`), "Field '$1' in type '$2' is undefined"},
	"KnownArgumentNames":           {"UnknownArgument", regexp.MustCompile(`^Unknown argument "(\w+)" on field .*$`), "Unknown field argument $1"},
	"ProvidedRequiredArguments":    {"MissingFieldArgument", regexp.MustCompile(`^Field "\w+" argument "(\w+)" of type .*$`), "Missing field argument $1"},
	"ScalarLeafs":                  {"SubSelectionRequired", regexp.MustCompile(`^Field "(\w+)" of type "(.+)" must have a selection of subfields.*$`), "Sub selection required for type $2 of field $1"},
	"NoUndefinedVariables":         {"UndefinedVariable", regexp.MustCompile(`^Variable "\$?(\w+)" is not defined.*$`), "Undefined variable $1"},
	"NoUnusedVariables":            {"UnusedVariable", regexp.MustCompile(`^Variable "\$(\w+)" is never used.*$`), "Unused variable $1"},
	"KnownFragmentNames":           {"UndefinedFragment", regexp.MustCompile(`^Unknown fragment "(\w+)".*$`), "Undefined fragment $1"},
	"NoUnusedFragments":            {"UnusedFragment", regexp.MustCompile(`^Fragment "(\w+)" is never used.*$`), "Unused fragment $1"},
	"KnownTypeNames":               {"UnknownType", regexp.MustCompile(`^Unknown type "(\w+)".*$`), "Unknown type $1"},
	"KnownDirectives":              {"UnknownDirective", regexp.MustCompile(`^Unknown directive "@(\w+)".*$`), "Unknown directive $1"},
	"ValuesOfCorrectType":          {name: "WrongType"},
	"FragmentsOnCompositeTypes":    {name: "InlineFragmentTypeConditionInvalid"},
	"KnownRootType":                {name: "OperationNotSupported"},
	"LoneAnonymousOperation":       {name: "LoneAnonymousOperationViolation"},
	"NoFragmentCycles":             {name: "FragmentCycle"},
	"OverlappingFieldsCanBeMerged": {name: "FieldsConflict"},
	"PossibleFragmentSpreads":      {name: "InvalidFragmentType"},
	"SingleFieldSubscriptions":     {name: "SubscriptionMultipleRootFields"},
	"UniqueArgumentNames":          {name: "DuplicateArgumentNames"},
	"UniqueDirectivesPerLocation":  {name: "DuplicateDirectiveName"},
	"UniqueFragmentNames":          {name: "DuplicateFragmentName"},
	"UniqueInputFieldNames":        {name: "WrongType"},
	"UniqueOperationNames":         {name: "DuplicateOperationName"},
	"UniqueVariableNames":          {name: "DuplicateVariableName"},
	"VariablesAreInputTypes":       {name: "NonInputTypeOnVariable"},
	// The sentence is in apollographql/graphql-tag issue 652.
	"VariablesInAllowedPosition": {"VariableTypeMismatch", regexp.MustCompile(`^Variable "\$\w+" of type "(.+)" used in position expecting type "(.+)"\.?$`), "Variable type '$1' doesn't match expected type '$2'"},
	"MaxIntrospectionDepth":      {name: "BadFaithIntrospection"},
}

// validationError puts an error of gqlparser in AppSync's words:
// "Validation error of type FieldUndefined: Field 'x' in type 'Query' is
// undefined @ 'x'".
func validationError(doc *ast.QueryDocument, e *gqlerror.Error) fieldError {
	t := validationTypes[e.Rule]
	message := strings.ReplaceAll(e.Message, `"`, `'`)
	switch {
	case t.pattern != nil && t.pattern.MatchString(e.Message):
		message = t.pattern.ReplaceAllString(e.Message, t.message)
	case e.Rule == "ScalarLeafs":
		t.name = "SubSelectionNotAllowed"
	}
	out := invalid(cmp.Or(t.name, e.Rule), message, nil, fieldsBefore(doc, e.Locations))
	for _, l := range e.Locations {
		out.Locations = append(out.Locations, wire.Location{Line: l.Line, Column: l.Column})
	}
	return out
}

func invalid(name, message string, at *ast.Position, path string) fieldError {
	message = fmt.Sprintf("Validation error of type %s: %s", name, short(message))
	if path != "" {
		message += fmt.Sprintf(" @ '%s'", short(path))
	}
	return fieldError{Locations: locations(at), Message: message}
}

// maxSentence is how many bytes of what a client sent an error repeats: there may
// be a hundred errors.
const maxSentence = 500

func short(text string) string {
	if len(text) <= maxSentence {
		return text
	}
	return strings.ToValidUTF8(text[:maxSentence], "") + "…"
}

// fieldsBefore returns the path of the field that an error is in: the last one
// that starts at or before its location.
func fieldsBefore(doc *ast.QueryDocument, at []gqlerror.Location) string {
	if len(at) == 0 {
		return ""
	}
	before := func(p *ast.Position) bool {
		return p != nil && (p.Line < at[0].Line || p.Line == at[0].Line && p.Column <= at[0].Column)
	}
	var path []string
	var set ast.SelectionSet
	start := -1
	for _, op := range doc.Operations {
		if before(op.Position) && op.Position.Start > start {
			start, path, set = op.Position.Start, nil, op.SelectionSet
		}
	}
	for _, fragment := range doc.Fragments {
		if before(fragment.Position) && fragment.Position.Start > start {
			start, path, set = fragment.Position.Start, []string{fragment.Name}, fragment.SelectionSet
		}
	}
	for len(set) > 0 {
		i := len(set) - 1
		for i > 0 && !before(set[i].GetPosition()) {
			i--
		}
		selection := set[i]
		set = nil
		if !before(selection.GetPosition()) {
			break
		}
		switch s := selection.(type) {
		case *ast.Field:
			path, set = append(path, s.Name), s.SelectionSet
		case *ast.InlineFragment:
			set = s.SelectionSet
		}
	}
	return strings.Join(path, "/")
}

// slashed writes a path as AppSync's messages do: /statuses[2]/userId.
func slashed(path []any) string {
	var b strings.Builder
	for _, step := range path {
		if i, ok := step.(int); ok {
			b.WriteString("[" + strconv.Itoa(i) + "]")
		} else {
			fmt.Fprintf(&b, "/%v", step)
		}
	}
	return b.String()
}
