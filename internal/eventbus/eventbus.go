// Package eventbus publishes presence events to EventBridge with PutEvents.
package eventbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"golang.org/x/sync/errgroup"

	"presence"
)

const (
	// maxEntries is EventBridge's limit for one call.
	maxEntries = 10
	// maxBytes keeps a call far below the limit on its size, which AWS gives as
	// 1 MB in some places and 256 KB in others.
	maxBytes = 128 << 10
	// inFlight is how many calls one Publish has under way.
	inFlight = 8
	// attempts is how often an entry is tried. What then has not been taken is
	// left to the outbox, which publishes it again.
	attempts = 4
	// backoff is the longest wait before the second attempt; it doubles. The
	// waits are random, so that instances throttled together do not return
	// together.
	backoff = 50 * time.Millisecond
	// callTimeout bounds one call: a connection that died while the Lambda
	// function was frozen must not eat the whole deadline.
	callTimeout = 2 * time.Second
)

// retryable tells errors of a whole call that may pass by themselves.
var retryable = retry.IsErrorRetryables(retry.DefaultRetryables)

// Publisher publishes to one bus. It is safe for concurrent use.
type Publisher struct {
	client *eventbridge.Client
	bus    *string
}

var _ presence.Publisher = (*Publisher)(nil)

// New returns a Publisher to the bus of that name or ARN. EventBridge takes
// events for a bus that does not exist without a word and drops them.
func New(client *eventbridge.Client, bus string) *Publisher {
	return &Publisher{client: client, bus: &bus}
}

// Publish implements [presence.Publisher]. Events that EventBridge throttled or
// failed to take are tried again for as long as ctx allows, a few times at
// most. The error is a [presence.Unavailable].
func (p *Publisher) Publish(ctx context.Context, events []presence.Event) (failed int, err error) {
	chunks := p.chunks(events)
	if len(chunks) == 1 {
		failed, err = p.put(ctx, chunks[0])
	} else {
		var mu sync.Mutex
		var group errgroup.Group
		group.SetLimit(inFlight)
		for _, entries := range chunks {
			group.Go(func() error {
				n, cause := p.put(ctx, entries)
				mu.Lock()
				defer mu.Unlock()
				failed += n
				return cause
			})
		}
		err = group.Wait()
	}
	if err != nil {
		err = &presence.Error{
			Code: presence.Unavailable, Message: "Not every change could be published yet; what is left is published again later.",
			Err: fmt.Errorf("eventbus: put events: %w", err),
		}
	}
	return failed, err
}

// chunks returns events as entries, as many to a chunk as fit one call.
func (p *Publisher) chunks(events []presence.Event) [][]types.PutEventsRequestEntry {
	chunks := make([][]types.PutEventsRequestEntry, 0, (len(events)+maxEntries-1)/maxEntries)
	size := 0
	for i := range events {
		// Strings and times: nothing in an Event can fail to marshal.
		detail, _ := json.Marshal(&events[i])
		entry := types.PutEventsRequestEntry{
			EventBusName: p.bus,
			Source:       aws.String(presence.EventSource),
			DetailType:   aws.String(events[i].Change.DetailType()),
			Detail:       aws.String(string(detail)),
		}
		size += len(*entry.Source) + len(*entry.DetailType) + len(detail)
		last := len(chunks) - 1
		if last < 0 || len(chunks[last]) == maxEntries || size > maxBytes {
			size = len(*entry.Source) + len(*entry.DetailType) + len(detail)
			last++
			chunks = append(chunks, make([]types.PutEventsRequestEntry, 0, min(maxEntries, len(events)-i)))
		}
		chunks[last] = append(chunks[last], entry)
	}
	return chunks
}

// put publishes what fits one call and returns how many entries were not taken.
func (p *Publisher) put(ctx context.Context, entries []types.PutEventsRequestEntry) (failed int, err error) {
	for attempt := 1; ; attempt++ {
		again, refused, cause := p.call(ctx, entries)
		failed += refused
		if err == nil {
			err = cause
		}
		if len(again) == 0 {
			// What throttling delayed has been taken after all.
			if failed == 0 {
				err = nil
			}
			return failed, err
		}
		entries = again
		wait := rand.N(backoff << (attempt - 1))
		if deadline, ok := ctx.Deadline(); attempt == attempts || ok && time.Until(deadline) <= wait {
			return failed + len(entries), err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return failed + len(entries), err
		}
	}
}

// call makes one PutEvents. It returns the entries that are worth another try,
// how many are not, and why the first of either was not taken. Retries are ours
// alone, as the SDK's own would not see failed entries, which EventBridge
// answers with 200.
func (p *Publisher) call(ctx context.Context, entries []types.PutEventsRequestEntry) (again []types.PutEventsRequestEntry, refused int, cause error) {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := p.client.PutEvents(callCtx, &eventbridge.PutEventsInput{Entries: entries}, noRetry)
	switch {
	case err != nil && ctx.Err() == nil && (callCtx.Err() != nil || retryable.IsErrorRetryable(err) == aws.TrueTernary):
		return entries, 0, err
	case err != nil:
		return nil, len(entries), err
	case out.FailedEntryCount == 0:
		return nil, 0, nil
	case len(out.Entries) != len(entries):
		return nil, len(entries), errors.New("the answer has not one result for each entry")
	}
	for i, result := range out.Entries {
		if result.ErrorCode == nil {
			continue
		}
		if cause == nil {
			cause = fmt.Errorf("entry failed: %s: %s", *result.ErrorCode, aws.ToString(result.ErrorMessage))
		}
		// The two that pass by themselves, see PutEventsResultEntry.
		if *result.ErrorCode == "ThrottlingException" || *result.ErrorCode == "InternalFailure" {
			again = append(again, entries[i])
		} else {
			refused++
		}
	}
	return again, refused, cause
}

func noRetry(o *eventbridge.Options) { o.Retryer = aws.NopRetryer{} }
