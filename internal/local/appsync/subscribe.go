package appsync

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vektah/gqlparser/v2/ast"

	"presence"
	"presence/internal/wire"
)

// start subscribes, on its own authorization: one socket may carry the
// subscriptions of many callers.
func (c *conn) start(id string, payload json.RawMessage) (failed *wire.Error) {
	s := c.server
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			failed = &internalFailure
		}
	}()
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
	case c.subs[id] != nil:
		return &wire.Error{ErrorType: "DuplicatedOperationError", Message: "There is a subscription with this id already."}
	case len(c.subs) >= maxSubscriptions:
		return &wire.Error{ErrorType: "MaxSubscriptionsReachedError", Message: fmt.Sprintf("Max number of %d subscriptions reached", maxSubscriptions)}
	}
	if start.Extensions.Authorization == nil {
		return &wire.Error{ErrorType: "UnauthorizedException", Message: unauthorized}
	}
	header, refused := authorizationHeader(start.Extensions.Authorization)
	if refused != nil {
		return &refused.Error
	}
	identity, err := s.authorize(context.Background(), wire.Credentials{Method: http.MethodPost, Path: c.path, Header: header, Body: []byte(*start.Data)})
	if err != nil {
		return &s.refusal(err).Error
	}
	t := s.hub.lookup(*start.Data)
	if t == nil {
		var e *wire.Error
		if t, e = s.topic(*start.Data); e != nil {
			return e
		}
	}
	if message := denied(t.op, s.schema.Subscription, t.op.def.SelectionSet, identity); message != "" {
		return &wire.Error{ErrorType: string(presence.Unauthorized), Message: message}
	}
	sub := &subscription{conn: c, id: string(encode(id)), topic: t}
	if !s.hub.subscribe(sub) {
		return &wire.Error{ErrorType: "LimitExceededError", Message: "There are too many different subscriptions."}
	}
	c.subs[id] = sub
	return nil
}

// topic parses the data of a start.
func (s *Server) topic(data string) (*topic, *wire.Error) {
	req, refused := decodeRequest([]byte(data))
	if refused != nil {
		return nil, &refused.Error
	}
	op, invalid, refused := prepare(s.schema, s.rules, req)
	switch {
	case refused != nil:
		return nil, &refused.Error
	case invalid != nil:
		e := &wire.Error{ErrorType: "ValidationError", Message: invalid[0].Message, Locations: invalid[0].Locations}
		if invalid[0].resolverError != nil {
			e.ErrorType = invalid[0].ErrorType
		}
		return nil, e
	case op.def.Operation != ast.Subscription:
		return nil, &wire.Error{ErrorType: "UnsupportedOperation", Message: string(op.def.Operation) + " not supported through the realtime channel"}
	}
	fields := op.fields(op.def.SelectionSet, s.schema.Subscription)
	if len(fields) != 1 || fields[0].Name == "__typename" {
		return nil, &wire.Error{ErrorType: "ValidationError", Message: "A subscription selects one field."}
	}
	args, wrong := op.arguments(fields[0], fields[0].Name)
	if wrong != nil {
		return nil, &wire.Error{ErrorType: "ValidationError", Message: wrong.Message, Locations: wrong.Locations}
	}
	return s.hub.newTopic(data, op, fields[0], args), nil
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
