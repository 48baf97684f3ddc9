// Package resolvers is the Lambda handler: it answers AppSync's field events
// and the scheduled sweep.
//
// Every Query and Mutation field is a line in routes and a file of its name.
package resolvers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"presence"
	"presence/internal/metrics"
)

// fieldTimeout is how long a field may take: well under the 30 seconds after
// which AppSync gives up.
const fieldTimeout = 5 * time.Second

// Options configure a [Handler]. Store and Publisher are required.
type Options struct {
	presence.Timing
	Store     presence.Store
	Publisher presence.Publisher
	// SweepFor is how long a scheduled run stays up; zero means one pass.
	SweepFor time.Duration
	// Metrics takes what the handler measures. Nil means nobody does.
	Metrics metrics.Recorder
	// Logger takes failures. Nil means [slog.Default].
	Logger *slog.Logger
	// Now and Sleep are the sweep's clock. Nil means the real one. Sleep returns
	// early, with the context's error, when the context is done.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Handler is a lambda.Handler. It is safe for concurrent use.
type Handler struct{ Options }

// New returns a Handler.
func New(opts Options) *Handler {
	if opts.Metrics == nil {
		opts.Metrics = metrics.Discard{}
	}
	opts.Logger = cmp.Or(opts.Logger, slog.Default())
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	return &Handler{opts}
}

// call is one invocation: what is used of an event of EventBridge's, or of
// AppSync's (Event of internal/wire). The rest, headers and claims above all,
// is most of an event and read over.
type call struct {
	Arguments  jsontext.Value `json:"arguments"`
	Identity   *caller        `json:"identity"`
	Info       info           `json:"info"`
	DetailType string         `json:"detail-type"`
}

// caller is what is used of an Identity.
type caller struct {
	Sub             string            `json:"sub"`
	Username        string            `json:"username"`
	UserARN         string            `json:"userArn"`
	ResolverContext map[string]string `json:"resolverContext"`
}

// info is what is used of an Info. Heartbeats have no use for the
// selection, so it is not decoded yet.
type info struct {
	ParentTypeName      string         `json:"parentTypeName"`
	FieldName           string         `json:"fieldName"`
	SelectionSetList    jsontext.Value `json:"selectionSetList"`
	SelectionSetGraphQL jsontext.Value `json:"selectionSetGraphQL"`
}

// Invoke answers one event. For a field it answers the field's JSON, or fails
// with a [messages.InvokeResponse_Error], the only error whose type Lambda
// passes on as AppSync's errorType. For the schedule it answers null, and its
// errors are plain, so that Lambda counts them.
func (h *Handler) Invoke(ctx context.Context, payload []byte) (reply []byte, err error) {
	var c call
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, h.failure(ctx, "", presence.Errorf(presence.InvalidArgument, "The event is not one of AppSync's or EventBridge's."))
	}
	if c.DetailType == "Scheduled Event" {
		return []byte("null"), h.sweep(ctx)
	}
	return h.field(ctx, &c)
}

// field answers one GraphQL field. Every error of a field ends here.
func (h *Handler) field(ctx context.Context, c *call) (reply []byte, err error) {
	start := h.Now()
	name, result := c.Info.FieldName, "OK"
	answer, known := routes[Field{c.Info.ParentTypeName, name}]
	if !known {
		return nil, h.failure(ctx, "", presence.Errorf(presence.InvalidArgument, "There is no field of this name here."))
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			result = string(presence.AsError(err).Code)
			err = h.failure(ctx, name, err)
		}
		h.Metrics.Record(metrics.Operations, 1, name, result)
		h.Metrics.Record(metrics.Latency, float64(h.Now().Sub(start).Microseconds())/1000, name)
	}()
	ctx, cancel := context.WithTimeout(ctx, fieldTimeout)
	defer cancel()
	return answer(ctx, h, c)
}

// failure logs an error's cause, where it has one, and returns what the caller
// is told. The type is a value and not wrapped on purpose: Lambda looks for
// just that.
func (h *Handler) failure(ctx context.Context, field string, err error) error {
	e := presence.AsError(err)
	if e.Err != nil {
		h.Logger.ErrorContext(ctx, "call failed", "field", field, "code", e.Code, "cause", e.Err)
	}
	return messages.InvokeResponse_Error{Type: string(e.Code), Message: e.Message}
}

// sleep waits for d, or until the context is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
