package resolvers

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"presence"
	"presence/internal/metrics"
	"presence/internal/wire"
)

// callTimeout is how long a call may take: well under the 30 seconds after which
// AppSync gives up.
const callTimeout = 5 * time.Second

// call is what appsync.js sends of a GraphQL field.
type call struct {
	// Field is the parent type and the field's name, with a dot between.
	Field     string    `json:"field"`
	Arguments arguments `json:"arguments"`
	Caller    caller    `json:"caller"`
}

// caller is who calls, as AppSync has verified. The token is not checked again
// here: the function's subnets have no way to the issuer's keys.
type caller struct {
	// Mode is how the caller was authenticated: user (a user pool's token), iam (a
	// back end), identityPool (a browser with IAM credentials), apiKey or other.
	Mode string `json:"mode"`
	// ID is the user's id, in mode user.
	ID string `json:"id"`
}

// user returns the caller's user id. It is the token's, never an argument.
func (c caller) user() (string, error) {
	if c.Mode != "user" {
		return "", presence.Errorf(presence.Unauthorized, "Only a signed-in user can do this: call with a user pool token.")
	}
	return c.ID, nil
}

// backEnd returns an error unless the caller is a back end. The schema's
// directives say so too; a directive lost in an edit must not let users announce
// each other.
func (c caller) backEnd() error {
	if c.Mode != "iam" {
		return presence.Errorf(presence.Unauthorized, "Only EventBridge can do this: call with IAM.")
	}
	return nil
}

// arguments are those of all fields. AppSync has checked that a call gives the
// ones its field has.
type arguments struct {
	URL       string   `json:"url"`
	Title     string   `json:"title"`
	SessionID string   `json:"sessionId"`
	GraceMs   int64    `json:"graceMs"`
	UserID    string   `json:"userId"`
	UserIDs   []string `json:"userIds"`
	Watch     struct {
		UserIDs []string `json:"userIds"`
	} `json:"watch"`
}

// beat returns the beat that the caller reports.
func (c *call) beat() (presence.Beat, error) {
	user, err := c.Caller.user()
	if err != nil {
		return presence.Beat{}, err
	}
	page, err := presence.NewPage(c.Arguments.URL, c.Arguments.Title)
	return presence.Beat{UserID: user, SessionID: c.Arguments.SessionID, Page: page}, err
}

// route answers one field.
type route func(ctx context.Context, h *Handler, c *call) (any, error)

// routes says who answers which field. A test compares it with the schema.
var routes = map[string]route{
	"Query.status": func(ctx context.Context, h *Handler, c *call) (any, error) {
		return h.status(ctx, c.Arguments.UserID)
	},
	"Query.statuses": func(ctx context.Context, h *Handler, c *call) (any, error) {
		return h.statuses(ctx, c.Arguments.UserIDs)
	},
	"Query.heartbeat":    callHeartbeat,
	"Mutation.heartbeat": callHeartbeat,
	"Mutation.connect": func(ctx context.Context, h *Handler, c *call) (any, error) {
		beat, err := c.beat()
		if err != nil {
			return nil, err
		}
		return h.connect(ctx, beat)
	},
	"Mutation.disconnect": func(ctx context.Context, h *Handler, c *call) (any, error) {
		user, err := c.Caller.user()
		if err != nil {
			return nil, err
		}
		return h.disconnect(ctx, presence.Leave{UserID: user, SessionID: c.Arguments.SessionID, GraceMs: c.Arguments.GraceMs})
	},
	"Mutation.connected":    callAnnounce,
	"Mutation.disconnected": callAnnounce,
	"Subscription.onStatus": func(_ context.Context, _ *Handler, c *call) (any, error) {
		return filter(presence.Watch{UserIDs: []string{c.Arguments.UserID}})
	},
	"Subscription.onPresence": func(_ context.Context, _ *Handler, c *call) (any, error) {
		return filter(presence.Watch{UserIDs: c.Arguments.Watch.UserIDs})
	},
}

// Fields returns the fields that are answered here, as Type.name, sorted.
func Fields() []string { return slices.Sorted(maps.Keys(routes)) }

func callHeartbeat(ctx context.Context, h *Handler, c *call) (any, error) {
	beat, err := c.beat()
	if err != nil {
		return nil, err
	}
	return h.heartbeat(ctx, beat)
}

func callAnnounce(ctx context.Context, h *Handler, c *call) (any, error) {
	if err := c.Caller.backEnd(); err != nil {
		return nil, err
	}
	return h.announce(ctx, c.Arguments.UserID)
}

// filter returns the filter of a subscription.
func filter(w presence.Watch) (any, error) {
	topics, err := w.Topics()
	if err != nil {
		return nil, err
	}
	return wire.ContainsAny("topics", topics), nil
}

// answer answers a call. Every error of a call ends here.
func (h *Handler) answer(ctx context.Context, c *call) ([]byte, error) {
	answer, known := routes[c.Field]
	if !known {
		return failure(presence.Errorf(presence.InvalidArgument, "There is no field of this name here.")), nil
	}
	start := h.Now()
	_, name, _ := strings.Cut(c.Field, ".")
	labels := []string{name, "OK"}
	defer func() {
		h.Metrics.Record(metrics.Operations, 1, labels...)
		h.Metrics.Record(metrics.Latency, float64(h.Now().Sub(start).Microseconds())/1000, labels[:1]...)
	}()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	data, err := answer(ctx, h, c)
	if err == nil {
		text, _ := json.Marshal(data, lenient) // strings, numbers and times cannot fail
		return slices.Concat([]byte(`{"data":`), text, []byte("}")), nil
	}
	e := presence.AsError(err)
	labels[1] = string(e.Code)
	if e.Code == presence.Internal {
		return nil, h.defect(ctx, name, err)
	}
	if e.Err != nil {
		h.Logger.ErrorContext(ctx, "call failed", "field", name, "code", e.Code, "cause", e.Err)
	}
	return failure(e), nil
}

// failure is the answer that appsync.js raises as a GraphQL error.
func failure(e *presence.Error) []byte {
	var reply struct {
		Error struct {
			Type    presence.Code `json:"type"`
			Message string        `json:"message"`
		} `json:"error"`
	}
	reply.Error.Type, reply.Error.Message = e.Code, e.Message
	text, _ := json.Marshal(reply, lenient) // strings cannot fail
	return text
}
