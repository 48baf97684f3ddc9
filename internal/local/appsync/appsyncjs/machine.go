package appsyncjs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/grafana/sobek"
)

// machine is one JavaScript runtime with the code loaded. It is for one
// goroutine at a time.
type machine struct {
	rt  *sobek.Runtime
	log *slog.Logger
	// request and response call the code's handlers.
	request, response func(...sobek.Value) (sobek.Value, error)
	// json is JSON.stringify; it runs outside of the limit, for it is as long as the
	// data.
	json func(sobek.Value) (sobek.Value, error)
	// interrupted is set when a handler took too long.
	interrupted bool
	// ctx is the call being handled, and raised what util.error ended it with.
	ctx     *Context
	raised  *Error
	decoder jsontext.Decoder
}

// newMachine makes a runtime and evaluates the code in it.
func (c *Code) newMachine() (*machine, error) {
	m := &machine{rt: sobek.New(), log: c.log}
	m.rt.SetMaxCallStackSize(maxCalls)
	made, err := m.rt.RunProgram(setup)
	if err != nil {
		return nil, fmt.Errorf("appsyncjs: setup: %w", err)
	}
	begin, _ := sobek.AssertFunction(made)
	callers, err := begin(sobek.Undefined(), m.host(c.env))
	if err != nil {
		return nil, fmt.Errorf("appsyncjs: setup: %w", err)
	}
	var promise *sobek.Promise
	_, _ = m.limited(c.limit, func() (sobek.Value, error) {
		promise = c.module.Evaluate(m.rt)
		return nil, nil
	})
	if m.interrupted || promise.State() != sobek.PromiseStateFulfilled {
		return nil, fmt.Errorf("it cannot be loaded: %v", promise.Result())
	}
	stringify, _ := sobek.AssertFunction(callers.ToObject(m.rt).Get("json"))
	m.json = func(v sobek.Value) (sobek.Value, error) { return stringify(sobek.Undefined(), v) }
	if m.request, err = m.caller(c.module, callers, "request"); err != nil {
		return nil, err
	}
	m.response, err = m.caller(c.module, callers, "response")
	return m, err
}

// limited runs a handler for at most limit.
func (m *machine) limited(limit time.Duration, handler func() (sobek.Value, error)) (sobek.Value, error) {
	timer := time.AfterFunc(limit, func() { m.rt.Interrupt("the handler ran longer than " + limit.String()) })
	v, err := handler()
	m.interrupted = !timer.Stop()
	return v, err
}

// caller returns a function that calls one of the code's handlers.
func (m *machine) caller(module *sobek.SourceTextModuleRecord, callers sobek.Value, name string) (func(...sobek.Value) (sobek.Value, error), error) {
	handler := m.rt.GetModuleInstance(module).GetBindingValue(name)
	if handler == nil {
		return nil, fmt.Errorf("it exports no function %s", name)
	}
	if _, ok := sobek.AssertFunction(handler); !ok {
		return nil, fmt.Errorf("its %s is no function", name)
	}
	call, _ := sobek.AssertFunction(callers.ToObject(m.rt).Get(name))
	return func(args ...sobek.Value) (sobek.Value, error) {
		return call(sobek.Undefined(), slices.Insert(args, 0, handler)...)
	}, nil
}

// arguments are what both handlers of setup.js take.
func (m *machine) arguments() []sobek.Value {
	stash := m.ctx.stash
	if stash == nil {
		stash = []byte("{}")
	}
	return []sobek.Value{m.rt.ToValue(m.ctx.Field), m.rt.ToValue(m.ctx.Parent), m.value(m.ctx.Arguments), m.value(m.ctx.Identity), m.value(stash)}
}

// host makes the object that setup.js knows as host.
func (m *machine) host(env map[string]string) sobek.Value {
	variables := m.rt.NewObject()
	for name, value := range env {
		m.set(variables, name, m.rt.ToValue(value))
	}
	object := m.rt.NewObject()
	set := func(name string, v any) { m.set(object, name, m.rt.ToValue(v)) }
	set("env", variables)
	set("now", func() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") })
	set("autoId", uuid.NewString)
	set("read", m.read)
	set("keep", func(stash string) { m.ctx.stash = []byte(stash) })
	set("raise", func(call sobek.FunctionCall) sobek.Value { return m.raise(errorOf(call)) })
	set("unauthorized", func(sobek.FunctionCall) sobek.Value {
		return m.raise(&Error{Type: "Unauthorized", Message: fmt.Sprintf("Not Authorized to access %s on type %s", m.ctx.Field, m.ctx.Parent)})
	})
	set("append", func(call sobek.FunctionCall) sobek.Value {
		m.called("util.appendError")
		m.ctx.Appended = append(m.ctx.Appended, errorOf(call))
		return sobek.Undefined()
	})
	set("setFilter", func(filter string) {
		m.called("extensions.setSubscriptionFilter")
		// "You can use this extension method only in the response … of a
		// subscription resolver": "Extensions" in the AppSync developer guide.
		if m.ctx.Parent != "Subscription" || m.ctx.Result == nil && m.ctx.Failed == nil {
			panic(m.rt.NewTypeError("extensions.setSubscriptionFilter is for the response of a subscription."))
		}
		m.ctx.Filter = []byte(filter)
	})
	set("log", func(level, values string) {
		if m.log != nil {
			m.log.Info("resolver code logged", slog.String("level", level), slog.String("values", values))
		}
	})
	return object
}

// called stops code that calls a util while it is being loaded.
func (m *machine) called(name string) {
	if m.ctx == nil {
		panic(m.rt.NewTypeError(name + " can only be called by a handler."))
	}
}

// raise ends the handler. Code has no try, so nothing can catch the panic.
func (m *machine) raise(e *Error) sobek.Value {
	m.called("util.error")
	m.raised = e
	panic(m.rt.NewTypeError(e.Message))
}

// errorOf reads the arguments of util.error: message, type, data, errorInfo.
func errorOf(call sobek.FunctionCall) *Error {
	e := &Error{
		Message: call.Argument(0).String(),
		Data:    json.RawMessage(call.Argument(2).String()),
		Info:    json.RawMessage(call.Argument(3).String()),
	}
	if t := call.Argument(1); !sobek.IsUndefined(t) && !sobek.IsNull(t) {
		e.Type = t.String()
	}
	return e
}

// read makes a part of the context that the code asks for.
func (m *machine) read(key string) sobek.Value {
	switch key {
	case "request":
		return m.value(m.ctx.Request())
	case "variables":
		return m.value(m.ctx.Variables())
	}
	list, graphQL := m.ctx.Selection()
	if key == "selectionSetGraphQL" {
		return m.rt.ToValue(graphQL)
	}
	values := make([]any, len(list))
	for i, name := range list {
		values[i] = name
	}
	return m.rt.NewArray(values...)
}
