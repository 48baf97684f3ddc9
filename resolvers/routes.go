package resolvers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"presence"
	"presence/internal/wire"
)

// Field is a field of the schema's Query or Mutation.
type Field struct{ Type, Name string }

// routes says who answers which field. A test holds it against the schema.
var routes = map[Field]func(context.Context, *Handler, *call) ([]byte, error){
	{"Query", "status"}:          field((*Handler).status),
	{"Query", "statuses"}:        field((*Handler).statuses),
	{"Query", "heartbeat"}:       field((*Handler).heartbeat),
	{"Mutation", "connect"}:      field((*Handler).connect),
	{"Mutation", "heartbeat"}:    field((*Handler).heartbeat),
	{"Mutation", "disconnect"}:   field((*Handler).disconnect),
	{"Mutation", "connected"}:    field((*Handler).announce),
	{"Mutation", "disconnected"}: field((*Handler).announce),
}

// Fields returns the fields the handler answers, sorted.
func Fields() []Field {
	return slices.SortedFunc(maps.Keys(routes), func(a, b Field) int {
		return strings.Compare(a.Type+"."+a.Name, b.Type+"."+b.Name)
	})
}

// field makes a route of a method, decoding its arguments and encoding its
// answer.
func field[A, R any](method func(*Handler, context.Context, *call, A) (R, error)) func(context.Context, *Handler, *call) ([]byte, error) {
	return func(ctx context.Context, h *Handler, c *call) ([]byte, error) {
		var args A
		if len(c.Arguments) > 0 {
			if err := json.Unmarshal(c.Arguments, &args); err != nil {
				return nil, badArguments(err)
			}
		}
		answer, err := method(h, ctx, c, args)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	}
}

// badArguments says which argument has the wrong type. AppSync's own
// validation normally catches that before.
func badArguments(err error) error {
	var wrong *json.SemanticError
	if errors.As(err, &wrong) {
		for name := range wrong.JSONPointer.Tokens() {
			return presence.Errorf(presence.InvalidArgument, "The argument %s has the wrong type.", name)
		}
	}
	return presence.Errorf(presence.InvalidArgument, "The arguments can not be read.")
}

// mode returns how the caller was authenticated.
func (c *call) mode() wire.AuthMode {
	var identity *wire.Identity
	if by := c.Identity; by != nil {
		identity = &wire.Identity{Sub: by.Sub, Username: by.Username, UserARN: by.UserARN, ResolverContext: by.ResolverContext}
	}
	return identity.Mode()
}

// user returns the caller's user id. It is the token's, never an argument.
func (c *call) user() (string, error) {
	if c.mode() != wire.ModeUserPools {
		return "", presence.Errorf(presence.Unauthorized, "Only a signed-in user can do this: call with a user pool token.")
	}
	return c.Identity.Sub, checkUserID(c.Identity.Sub)
}
