package appsync

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"presence"
	"presence/internal/wire"
)

// start begins a subscription, on its own authorization: one socket may carry
// the subscriptions of many callers. The resolver runs beside the reader, so
// that a slow function holds up nothing else.
func (c *conn) start(id string, payload json.RawMessage) *wire.Error {
	var start struct {
		Data       *string `json:"data"`
		Extensions struct {
			Authorization json.RawMessage `json:"authorization"`
		} `json:"extensions"`
	}
	switch err := json.Unmarshal(payload, &start); {
	case err != nil || start.Data == nil:
		return &wire.Error{ErrorType: "BadRequestException", Message: "The payload of start has no data, a string of query and variables."}
	case id == "":
		return &wire.Error{ErrorType: "BadRequestException", Message: "The start has no id."}
	}
	sub := &subscription{conn: c, id: jsonID(id)}
	if e := c.claim(id, sub); e != nil {
		return e
	}
	c.server.running.Go(func() {
		if e := c.server.subscribe(sub, *start.Data, start.Extensions.Authorization); e != nil {
			c.abandon(id, sub, *e)
		}
	})
	return nil
}

// claim takes an id for a subscription.
func (c *conn) claim(id string, sub *subscription) *wire.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.subs[id] != nil:
		return &wire.Error{ErrorType: "DuplicatedOperationError", Message: "There is a subscription with this id already."}
	case len(c.subs) >= maxSubscriptions:
		return &wire.Error{ErrorType: "MaxSubscriptionsReachedError", Message: fmt.Sprintf("Max number of %d subscriptions reached", maxSubscriptions)}
	}
	c.subs[id] = sub
	return nil
}

// abandon ends a start that failed. The client is not told if it has stopped
// it.
func (c *conn) abandon(id string, sub *subscription, e wire.Error) {
	c.mu.Lock()
	stopped := sub.stopped
	if !stopped {
		delete(c.subs, id)
	}
	c.mu.Unlock()
	if !stopped {
		c.fail(wire.TypeError, sub.id, e)
	}
}

// stop ends a subscription. Stopping what is not there is answered alike: a
// client that stops twice, or after an error, has what it wants.
func (c *conn) stop(id string) {
	c.mu.Lock()
	sub := c.subs[id]
	if sub != nil {
		sub.stopped = true
		delete(c.subs, id)
	}
	c.sendLocked(message{kind: wire.TypeComplete, id: jsonID(id)})
	c.mu.Unlock()
	if sub != nil {
		c.server.hub.unsubscribe(sub)
	}
}

// stopAll ends every subscription and returns them.
func (c *conn) stopAll() map[string]*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.subs
	c.subs = nil
	for _, sub := range all {
		sub.stopped = true
	}
	return all
}

// subscribe authorizes a start, runs its resolver, and adds the subscription to
// the hub.
func (s *Server) subscribe(sub *subscription, data string, authorization json.RawMessage) (failed *wire.Error) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			failed = &internalFailure
		}
	}()
	if authorization == nil {
		return &wire.Error{ErrorType: "UnauthorizedException", Message: unauthorized}
	}
	header, refused := authorizationHeader(authorization)
	if refused != nil {
		return &refused.Error
	}
	ctx := context.Background()
	// Those who wait for a turn cost no time of the processor, and those whose
	// socket has ended meanwhile go.
	done := turn(sub.conn.caller.authorizing)
	if sub.conn.hasStopped(sub) {
		done()
		return nil
	}
	identity, err := func() (*wire.Identity, error) {
		defer done()
		return s.authorize(ctx, wire.Credentials{Method: http.MethodPost, Path: sub.conn.path, Header: header, Body: []byte(data)})
	}()
	if err != nil {
		return &s.refusal(err).Error
	}
	q, leave := s.quotas.enter(callerKey(identity))
	if q == nil {
		return &tooManyRequests().Error
	}
	defer leave()
	op, field, e := s.prepareStart(q, sub, data, identity)
	if e != nil || op == nil {
		return e
	}
	if e := s.filter(ctx, sub, op, field, newCaller(sub.conn.host, identity, header, q)); e != nil {
		return e
	}
	sub.operation = &subscribed{key: operationKey(op, data), op: op, field: field}
	if limit := s.hub.subscribe(sub); limit != "" {
		return &wire.Error{ErrorType: "LimitExceededError", Message: limit}
	}
	return nil
}

// prepareStart parses a start and checks its caller's rights, in the caller's
// turn. It returns nothing if the start was stopped before.
func (s *Server) prepareStart(q *quota, sub *subscription, data string, identity *wire.Identity) (*operation, graphql.CollectedField, *wire.Error) {
	defer turn(q.work)()
	none := graphql.CollectedField{}
	if sub.conn.hasStopped(sub) {
		return nil, none, nil
	}
	op, field, e := s.parseStart(data)
	if e != nil {
		return nil, none, e
	}
	if message := denied(op, s.schema.Subscription, op.def.SelectionSet, identity); message != "" {
		return nil, none, &wire.Error{ErrorType: string(presence.Unauthorized), Message: message}
	}
	return op, field, nil
}

func (c *conn) hasStopped(sub *subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sub.stopped
}

// invalidStart is what AppSync tells of a start that is not valid: the message,
// and the type of a limit, but no locations. Raw frames are in amplify-swift
// issue 1589 and amplify-cli issue 3098.
func invalidStart(e fieldError) *wire.Error {
	out := &wire.Error{Message: e.Message}
	if e.resolverError != nil {
		out.ErrorType = e.ErrorType
	}
	return out
}

// parseStart parses the data of a start. Its errors are a message alone.
func (s *Server) parseStart(data string) (*operation, graphql.CollectedField, *wire.Error) {
	none := graphql.CollectedField{}
	req, refused := decodeRequest([]byte(data))
	if refused != nil {
		return nil, none, &wire.Error{Message: refused.Message}
	}
	op, invalid, refused := prepare(s.schema, s.rules, req)
	switch {
	case refused != nil:
		return nil, none, &wire.Error{Message: refused.Message}
	case invalid != nil:
		return nil, none, invalidStart(invalid[0])
	case op.def.Operation != ast.Subscription:
		return nil, none, &wire.Error{ErrorType: "UnsupportedOperation", Message: string(op.def.Operation) + " not supported through the realtime channel"}
	}
	fields := op.fields(op.def.SelectionSet, s.schema.Subscription)
	if len(fields) != 1 || fields[0].Name == "__typename" {
		return nil, none, &wire.Error{Message: "A subscription selects one field."}
	}
	return op, fields[0], nil
}

// filter runs the resolver of a subscription's field. The filter it sets counts;
// if it sets none, the arguments do.
func (s *Server) filter(ctx context.Context, sub *subscription, op *operation, field graphql.CollectedField, by caller) *wire.Error {
	args, wrong := op.arguments(field, field.Name)
	if wrong != nil {
		return invalidStart(*wrong)
	}
	call := s.newCall(op, s.schema.Subscription, field, args, by)
	done := turn(by.quota.calls)
	_, failed := s.resolve(ctx, call)
	done()
	if failed == nil && len(call.Appended) > 0 {
		failed = call.Appended[0]
	}
	if failed != nil {
		return &wire.Error{ErrorType: failed.Type, Message: failed.Message, ErrorInfo: present(failed.Info), Data: present(failed.Data)}
	}
	if call.Filter == nil {
		t, err := byArguments(args)
		if err != nil {
			return &internalFailure
		}
		sub.topics = []topic{t}
		return nil
	}
	f, err := parseFilter(call.Filter)
	if err != nil {
		s.log.Error("the resolver set a filter that is not valid", slog.String("field", field.Name), slog.Any("error", err))
		return &wire.Error{ErrorType: "BadRequestException", Message: "The subscription filter is not valid: " + err.Error() + "."}
	}
	if sub.topics = f.topics(); sub.topics == nil {
		sub.filter = f
	}
	return nil
}

// present leaves null out of an error.
func present(info json.RawMessage) any {
	if len(info) == 0 || string(info) == "null" {
		return nil
	}
	return info
}

// operationKey returns what subscriptions to the same selection have in common.
// Variables count only if the selection depends on them; those of the field's
// arguments are in the filter.
func operationKey(op *operation, data string) string {
	if dependsOnVariables(op.def.SelectionSet, true, map[string]bool{}) {
		return data
	}
	return op.def.Name + "\n" + op.source
}

// dependsOnVariables reports whether variables decide what is selected. The
// arguments of the root field do not. Each fragment is walked once: walked has
// the names of those that were.
func dependsOnVariables(set ast.SelectionSet, root bool, walked map[string]bool) bool {
	for _, selection := range set {
		var inner ast.SelectionSet
		var directives ast.DirectiveList
		innerRoot := root
		switch s := selection.(type) {
		case *ast.Field:
			if !root && argumentsHaveVariables(s.Arguments) {
				return true
			}
			inner, directives, innerRoot = s.SelectionSet, s.Directives, false
		case *ast.InlineFragment:
			inner, directives = s.SelectionSet, s.Directives
		case *ast.FragmentSpread:
			directives = s.Directives
			if !walked[s.Name] {
				walked[s.Name] = true
				inner = s.Definition.SelectionSet
			}
		}
		for _, d := range directives {
			if argumentsHaveVariables(d.Arguments) {
				return true
			}
		}
		if dependsOnVariables(inner, innerRoot, walked) {
			return true
		}
	}
	return false
}

func argumentsHaveVariables(list ast.ArgumentList) bool {
	for _, argument := range list {
		if hasVariable(argument.Value) {
			return true
		}
	}
	return false
}

func hasVariable(v *ast.Value) bool {
	if v == nil || v.Kind == ast.Variable {
		return v != nil
	}
	for _, child := range v.Children {
		if hasVariable(child.Value) {
			return true
		}
	}
	return false
}

// denied returns why a caller may not have all of what a subscription selects,
// or nothing.
func denied(op *operation, parent *ast.Definition, set ast.SelectionSet, caller *wire.Identity) string {
	for _, object := range op.schema.GetPossibleTypes(parent) {
		for _, f := range op.fields(set, object) {
			if f.Name == "__typename" {
				continue
			}
			if !admits(object, f.Definition, caller) {
				return denial(object, f.Name)
			}
			if def := op.schema.Types[f.Definition.Type.Name()]; def.IsCompositeType() {
				if message := denied(op, def, f.Selections, caller); message != "" {
					return message
				}
			}
		}
	}
	return ""
}
