package sim

import (
	"cmp"
	"container/heap"
	"fmt"
	"time"

	"presence"
)

// epoch is the Redis clock's time when a history begins.
var epoch = time.UnixMilli(1_800_000_000_000)

// event is something to happen.
type event struct {
	at  time.Duration
	tie uint32
	seq int
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].tie, q[j].tie), cmp.Compare(q[i].seq, q[j].seq)) < 0
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(x any) { *q = append(*q, x.(event)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// after makes something happen in a while. What happens at the same time
// happens in an order of the seed's.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + d, w.rand.Uint32(), w.seq, do})
}

// between returns a duration from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rand.Int64N(int64(b-a)+1))
}

// until lets things happen until a time or a violation.
func (w *world) until(end time.Duration) {
	for w.result.Violation == "" && len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.advance(e.at)
		e.do()
	}
	if w.result.Violation == "" {
		w.advance(end)
	}
}

func (w *world) advance(to time.Duration) {
	if d := to - w.now; d > 0 {
		w.now = to
		w.redis.advance(d)
		if w.pages != nil {
			w.pages.advance(d)
		}
	}
}

// clock is a time as the history counts it.
func clock(t presence.Time) string {
	return fmt.Sprintf("%.3fs", t.Time().Sub(epoch).Seconds())
}
