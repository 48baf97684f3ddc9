package metrics

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// EMF writes metrics in CloudWatch Embedded Metric Format, a line of JSON for
// each set of labels. A line costs as much to store as a heartbeat costs to
// run, so values are gathered and written once a minute, by the first Record
// after it. What a Lambda instance has gathered when it ends is lost: at most
// its last minute.
//
// See "Specification: Embedded metric format" in the CloudWatch user guide.
type EMF struct {
	// Namespace is the CloudWatch namespace; NewEMF sets [Namespace]. It must not
	// change after the first Record.
	Namespace string

	w       io.Writer
	now     func() time.Time
	mu      sync.Mutex
	written time.Time
	series  map[key]*series
}

var _ Recorder = (*EMF)(nil)

// key names a series. It is an array so that a value of a series that is there
// already costs no allocation.
type key struct {
	metric string
	labels [maxLabels]string
}

type series struct {
	metric Metric
	values []float64
}

const (
	maxLabels    = 2 // no metric has more
	emfPeriod    = time.Minute
	emfMaxValues = 100 // a metric, in one line
)

// NewEMF returns an EMF that writes to w. A nil now means [time.Now].
func NewEMF(w io.Writer, now func() time.Time) *EMF {
	if now == nil {
		now = time.Now
	}
	return &EMF{Namespace: Namespace, w: w, now: now, written: now(), series: map[key]*series{}}
}

// Record implements [Recorder].
func (e *EMF) Record(m Metric, value float64, labels ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := key{metric: m.Name}
	copy(k.labels[:], labels)
	s := e.series[k]
	if s == nil {
		s = &series{metric: m}
		e.series[k] = s
	}
	switch {
	case len(s.values) == 0 || m.Kind == Distribution:
		s.values = append(s.values, value)
	case m.Kind == Counter:
		s.values[0] += value
	default:
		s.values[0] = value
	}
	if e.now().Sub(e.written) >= emfPeriod || len(s.values) == emfMaxValues {
		e.writeLocked()
	}
}

// Flush writes what has been gathered.
func (e *EMF) Flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeLocked()
}

func (e *EMF) writeLocked() {
	type definition struct {
		Name string
		Unit string
	}
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	e.written = e.now()
	for k, s := range e.series {
		line := map[string]any{
			"_aws": map[string]any{
				"Timestamp": e.written.UnixMilli(),
				"CloudWatchMetrics": []directive{{
					Namespace:  e.Namespace,
					Dimensions: [][]string{append([]string{}, s.metric.Dimensions...)},
					Metrics:    []definition{{s.metric.Name, s.metric.Unit}},
				}},
			},
			s.metric.Name: s.values,
		}
		for i, name := range s.metric.Dimensions {
			line[name] = k.labels[i]
		}
		// Numbers and strings always encode; a log that cannot be written to has
		// nobody to tell.
		text, _ := json.Marshal(line)
		_, _ = e.w.Write(append(text, '\n'))
	}
	clear(e.series)
}
