// Package appsyncjs runs resolver code as AppSync's APPSYNC_JS runtime does.
//
// Code has two functions. request makes of a call what a Lambda function is
// invoked with; response makes of the function's answer the field's value. The
// code sees the context AppSync documents and nothing of the machine it runs
// on. What APPSYNC_JS refuses is refused here, too: see check.go.
package appsyncjs

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/grafana/sobek"

	"presence"
)

const (
	// maxCode is how long code may be, in characters: AWS::AppSync::Resolver's
	// Code is at most 32,768, and AppSync's quota for a bundle of code is 32,000.
	maxCode = 32_000
	// maxRun is how long a handler may run. AppSync publishes no time. Handlers
	// need microseconds, but a busy machine may stop them for a while.
	maxRun = 5 * time.Second
	// maxCalls is how deep functions may call each other.
	maxCalls = 200
)

// utilsName is the only module that code can import.
const utilsName = "@aws-appsync/utils"

var (
	//go:embed setup.js
	setupSource string
	//go:embed utils.js
	utilsSource string

	setup = sobek.MustCompile("setup.js", setupSource, true)
)

// Error is what the code raised by util.error or appended by util.appendError.
type Error struct {
	Message, Type string
	// Data and Info are JSON.
	Data, Info json.RawMessage
}

func (e *Error) Error() string { return e.Message }

// Context is one call of a field, as its code sees it.
type Context struct {
	// Parent and Field name the field.
	Parent, Field string
	// Arguments and Identity are JSON.
	Arguments, Identity []byte
	// Request, Variables and Selection are asked for only if the code reads them.
	// Request and Variables return JSON.
	Request, Variables func() []byte
	Selection          func() (list []string, graphQL string)

	// Result is the function's answer as JSON, and Failed why there is none.
	Result []byte
	Failed *Error

	// Appended are the errors that the code has added to the answer.
	Appended []*Error
	// Filter is the subscription's filter as JSON, if the code has set one.
	Filter []byte

	stash []byte
}

// Code is compiled resolver code. It is safe for concurrent use.
type Code struct {
	module *sobek.SourceTextModuleRecord
	utils  *sobek.SourceTextModuleRecord
	env    map[string]string
	limit  time.Duration
	log    *slog.Logger
	idle   sync.Pool
}

// Compile compiles code. The values of env are ctx.env. Code that AppSync would
// refuse is a [presence.InvalidArgument] error.
func Compile(source string, env map[string]string, log *slog.Logger) (*Code, error) {
	if n := len([]rune(source)); n > maxCode {
		return nil, presence.Errorf(presence.InvalidArgument, "The resolver code has %d characters; AppSync takes %d.", n, maxCode)
	}
	c := &Code{env: env, limit: maxRun, log: log}
	if err := c.link(source); err != nil {
		return nil, presence.Errorf(presence.InvalidArgument, "The resolver code is not valid: %v.", err)
	}
	// The first runtime shows what only running the code's top level does.
	m, err := c.newMachine()
	if err != nil {
		return nil, presence.Errorf(presence.InvalidArgument, "The resolver code is not valid: %v.", err)
	}
	c.idle.Put(m)
	return c, nil
}

// link parses and checks the code and joins it with the module it imports.
func (c *Code) link(source string) error {
	resolve := func(_ any, name string) (sobek.ModuleRecord, error) {
		if name != utilsName {
			return nil, fmt.Errorf("it imports %s, and the local AppSync has only %s", name, utilsName)
		}
		return c.utils, nil
	}
	var err error
	if c.utils, err = sobek.ParseModule(utilsName, utilsSource, resolve); err != nil {
		return err
	}
	body, err := parseModule(source)
	if err != nil {
		return err
	}
	if err := check(body); err != nil {
		return err
	}
	if c.module, err = sobek.ModuleFromAST(body, resolve); err != nil {
		return err
	}
	return c.module.Link()
}

// Request runs the request handler and returns the payload to invoke the
// function with, as JSON. Its errors are an [*Error] that the code raised, or
// a defect of the code.
func (c *Code) Request(ctx *Context) ([]byte, error) {
	return c.run(ctx, func(m *machine) (sobek.Value, error) {
		args := m.arguments()
		return m.limited(c.limit, func() (sobek.Value, error) { return m.request(args...) })
	})
}

// Response runs the response handler and returns the field's value as JSON.
// Its errors are those of [Code.Request].
func (c *Code) Response(ctx *Context) ([]byte, error) {
	return c.run(ctx, func(m *machine) (sobek.Value, error) {
		result, failed := sobek.Null(), sobek.Null()
		if ctx.Failed == nil {
			result = m.value(ctx.Result)
		} else {
			object := m.rt.NewObject()
			m.set(object, "message", m.rt.ToValue(ctx.Failed.Message))
			m.set(object, "type", m.rt.ToValue(ctx.Failed.Type))
			failed = object
		}
		args := append(m.arguments(), result, failed)
		return m.limited(c.limit, func() (sobek.Value, error) { return m.response(args...) })
	})
}

// run lends a machine to one handler and returns the JSON of its answer. A
// machine that was interrupted, or may still be, is not used again.
func (c *Code) run(ctx *Context, handler func(*machine) (sobek.Value, error)) ([]byte, error) {
	m, ok := c.idle.Get().(*machine)
	if !ok {
		var err error
		if m, err = c.newMachine(); err != nil {
			return nil, err
		}
	}
	m.ctx, m.raised = ctx, nil
	v, err := handler(m)
	if err == nil {
		v, err = m.json(v)
	}
	raised := m.raised
	m.ctx, m.raised = nil, nil
	if !m.interrupted {
		c.idle.Put(m)
	}
	switch {
	case raised != nil:
		return nil, raised
	case err != nil:
		return nil, defect(err)
	}
	return []byte(v.String()), nil
}

// defect puts an error of the engine into words.
func defect(err error) error {
	var overflow *sobek.StackOverflowError
	if errors.As(err, &overflow) {
		return fmt.Errorf("functions call each other more than %d deep", maxCalls)
	}
	return errors.New(err.Error())
}
