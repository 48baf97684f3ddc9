// Package resolvers answers the calls of the presence API.
//
// Each operation has a file of its name and speaks the types of package
// presence. appsync.go brings AppSync's calls to them, and schedule.go
// EventBridge's.
package resolvers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"presence"
	"presence/internal/metrics"
)

// Options configure a [Handler]. Store and Publisher are required.
type Options struct {
	presence.Timing
	Store     presence.Store
	Publisher presence.Publisher
	// SweepFor is how long a scheduled run stays up; zero means one pass.
	SweepFor time.Duration
	// Metrics takes what the handler measures. Nil means that nothing does.
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

// lenient is how JSON is read and written whose content is not ours: broken UTF-16
// becomes a replacement character, and of a name used twice the last value
// counts.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true), json.FormatNilSliceAsNull(true))

// Invoke answers one event: a call of AppSync's resolver, or EventBridge's
// schedule. A call is answered {data} or {error}, both of which are successes to
// Lambda. An error that Invoke returns is a defect, and Lambda counts it; its
// text tells the caller nothing.
func (h *Handler) Invoke(ctx context.Context, payload []byte) (reply []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, h.defect(ctx, "", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	var event struct {
		call
		DetailType string `json:"detail-type"`
	}
	if err := json.Unmarshal(payload, &event, lenient); err != nil {
		return failure(badEvent(err)), nil
	}
	if event.DetailType == "Scheduled Event" {
		return []byte("null"), h.sweep(ctx)
	}
	return h.answer(ctx, &event.call)
}

// badEvent says which argument has the wrong type. AppSync's own validation
// normally finds that before.
func badEvent(err error) *presence.Error {
	var wrong *json.SemanticError
	if errors.As(err, &wrong) {
		if name, ok := strings.CutPrefix(string(wrong.JSONPointer), "/arguments/"); ok {
			return presence.Errorf(presence.InvalidArgument, "The argument %s has the wrong type.", name)
		}
	}
	return presence.Errorf(presence.InvalidArgument, "The event is not a call of the presence API.")
}

// defect logs the cause and returns an error without it, for Lambda hands an
// error's text on.
func (h *Handler) defect(ctx context.Context, field string, cause error) error {
	h.Logger.ErrorContext(ctx, "defect", "field", field, "cause", cause)
	return presence.Errorf(presence.Internal, "defect: the cause is in the function's log")
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
