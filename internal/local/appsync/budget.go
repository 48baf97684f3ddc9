package appsync

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Limits on one operation.
const (
	// maxResponse is AppSync's limit on an answer, 5 MB.
	maxResponse = 5 << 20
	// maxPayload is AppSync's limit on what a subscription is sent, 240 KB: "AWS
	// AppSync endpoints and quotas".
	maxPayload = 240 << 10
	// maxTime is AppSync's limit on a request.
	maxTime = 30 * time.Second
	// maxIntrospections is how many __schema and __type a request may select, and
	// introspectionWeight how many bytes of budget a byte of theirs costs. Both are
	// ours: what is computed for them is most of the work a short document can ask
	// for.
	maxIntrospections   = 3
	introspectionWeight = 4
)

// budget is what one operation may still use. All of its fields share it, and it
// is asked before something is spent.
type budget struct {
	bytes atomic.Int64
	end   time.Time
}

func newBudget(bytes int64) *budget {
	b := &budget{end: time.Now().Add(maxTime)}
	b.bytes.Store(bytes)
	return b
}

// exceeded says what is used up.
func (b *budget) exceeded() fieldError {
	if time.Now().Before(b.end) {
		return fieldError{Message: "The response is larger than 5 MB."}
	}
	return fieldError{Message: fmt.Sprintf("The request took longer than %v.", maxTime)}
}

// take takes bytes. It returns false once there are none left, or no time.
func (b *budget) take(bytes int) bool {
	return b.bytes.Add(-int64(bytes)) >= 0 && time.Now().Before(b.end)
}
