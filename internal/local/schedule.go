package local

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/google/uuid"
)

// startSchedule invokes the function as EventBridge's schedule does. AWS starts
// a run each minute, and a run lasts for most of it; here each follows the one
// before.
func startSchedule(function lambda.Handler, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			started := time.Now()
			if _, err := function.Invoke(ctx, scheduledEvent(started)); err != nil && ctx.Err() == nil {
				logger.Error("sweep failed", "cause", err)
			}
			// A run may be one pass, or fail at once: that is no reason for haste.
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(started.Add(time.Second))):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// scheduledEvent is what a rule with a schedule invokes its target with.
func scheduledEvent(at time.Time) []byte {
	return fmt.Appendf(nil, `{"version":"0","id":%q,"detail-type":"Scheduled Event","source":"aws.events","account":"000000000000","time":%q,"region":%q,"resources":["arn:aws:events:%[3]s:000000000000:rule/sweep"],"detail":{}}`,
		uuid.NewString(), at.UTC().Format(time.RFC3339), region)
}
