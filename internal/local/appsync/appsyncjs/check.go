package appsyncjs

import (
	"fmt"
	"reflect"

	"github.com/grafana/sobek/ast"
	"github.com/grafana/sobek/file"
	"github.com/grafana/sobek/parser"
	"github.com/grafana/sobek/token"
)

func parseModule(source string) (*ast.Program, error) {
	return parser.ParseFile(nil, "resolver.js", source, 0, parser.IsModule, parser.WithDisableSourceMaps)
}

// check finds what the APPSYNC_JS runtime does not have: "Supported runtime
// features" in the AppSync developer guide, and the rules of AppSync's plugin
// for ESLint.
func check(program *ast.Program) error {
	var found error
	walk(reflect.ValueOf(program), map[uintptr]bool{}, func(node any) bool {
		if name := unsupported(node); name != "" && found == nil {
			at := ""
			if n, ok := node.(ast.Node); ok {
				p := program.File.Position(int(n.Idx0()) - program.File.Base())
				at = fmt.Sprintf("line %d, column %d: ", p.Line, p.Column)
			}
			found = fmt.Errorf("%sAPPSYNC_JS has no %s", at, name)
		}
		return found == nil
	})
	return found
}

// unsupported names what a node of the syntax tree is, if APPSYNC_JS does not
// have it.
func unsupported(node any) string {
	switch n := node.(type) {
	case *ast.ThrowStatement:
		return "throw"
	case *ast.TryStatement:
		return "try"
	case *ast.WhileStatement:
		return "while"
	case *ast.DoWhileStatement:
		return "do-while"
	case *ast.ForStatement:
		return "for (;;)"
	case *ast.LabelledStatement:
		return "labels"
	case *ast.WithStatement:
		return "with"
	case *ast.DebuggerStatement:
		return "debugger"
	case *ast.RegExpLiteral:
		return "regular expression literals"
	case *ast.ClassLiteral:
		return "classes"
	case *ast.ThisExpression:
		return "this"
	case *ast.NewExpression:
		return "new"
	case *ast.AwaitExpression:
		return "await"
	case *ast.YieldExpression:
		return "yield"
	case *ast.DynamicImportExpression:
		return "import()"
	case *ast.ArrowFunctionLiteral:
		if n.Async {
			return "async functions"
		}
	case *ast.FunctionLiteral:
		if n.Async {
			return "async functions"
		}
		if n.Generator {
			return "generators"
		}
	case *ast.BranchStatement:
		if n.Token == token.CONTINUE {
			return "continue"
		}
	case *ast.BinaryExpression:
		if n.Operator == token.IN {
			return "operator in"
		}
	case *ast.UnaryExpression:
		if n.Operator == token.INCREMENT || n.Operator == token.DECREMENT || n.Operator == token.BITWISE_NOT {
			return "operator " + n.Operator.String()
		}
	}
	return ""
}

// walk calls visit with each pointer in a syntax tree, parents first, until it
// returns false.
func walk(v reflect.Value, seen map[uintptr]bool, visit func(any) bool) bool {
	switch v.Kind() {
	case reflect.Interface:
		return v.IsNil() || walk(v.Elem(), seen, visit)
	case reflect.Pointer:
		if v.IsNil() || v.Type() == reflect.TypeFor[*file.File]() || seen[v.Pointer()] {
			return true
		}
		seen[v.Pointer()] = true
		return visit(v.Interface()) && walk(v.Elem(), seen, visit)
	case reflect.Slice:
		for i := range v.Len() {
			if !walk(v.Index(i), seen, visit) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && !walk(v.Field(i), seen, visit) {
				return false
			}
		}
	}
	return true
}
