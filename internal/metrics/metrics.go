// Package metrics names what the API measures of itself. The Lambda writes the
// metrics in CloudWatch Embedded Metric Format, the local server shows the
// same names as Prometheus text, and the stack's alarms and dashboard are
// tested against this list.
package metrics

// Namespace is the CloudWatch namespace of every metric. A stack puts its own name
// behind it, so that deployments in one region do not mix.
const Namespace = "Presence"

// Kind says how values of a metric add up over time.
type Kind int

// The kinds.
const (
	// Counter values are added.
	Counter Kind = iota
	// Gauge values replace one another.
	Gauge
	// Distribution values are kept apart, for percentiles.
	Distribution
)

// Metric describes one metric.
type Metric struct {
	Name string
	Kind Kind
	// Unit is CloudWatch's: Count or Milliseconds.
	Unit string
	// Dimensions are the names of the labels every value carries.
	Dimensions []string
	Help       string
}

// The metrics there are.
var (
	Operations        = Metric{"Operations", Counter, "Count", []string{"Field", "Result"}, "GraphQL fields answered; Result is OK or the error's code."}
	Latency           = Metric{"Latency", Distribution, "Milliseconds", []string{"Field"}, "Time the handler took for a GraphQL field."}
	Transitions       = Metric{"Transitions", Counter, "Count", []string{"Reason"}, "Changes of a user's status."}
	Announced         = Metric{"Announced", Counter, "Count", nil, "Changes announced to subscribers and acknowledged."}
	PublishFailures   = Metric{"PublishFailures", Counter, "Count", nil, "Events EventBridge did not take; each is tried again."}
	OnlineUsers       = Metric{"OnlineUsers", Gauge, "Count", nil, "Users online at the last sweep."}
	Due               = Metric{"Due", Counter, "Count", nil, "Changes sweeps found due to be announced."}
	Unannounced       = Metric{"Unannounced", Gauge, "Count", nil, "Changes nobody has acknowledged announcing, at the last sweep."}
	OldestUnannounced = Metric{"OldestUnannounced", Distribution, "Milliseconds", nil, "Age of the oldest unannounced change due at a sweep."}
	SweepDuration     = Metric{"SweepDuration", Distribution, "Milliseconds", nil, "Time one pass over all shards took, publishing included."}
	SweepLag          = Metric{"SweepLag", Distribution, "Milliseconds", nil, "How long after its deadline the oldest expiry of a pass was found."}
)

// All returns every metric.
func All() []Metric {
	return []Metric{Operations, Latency, Transitions, Announced, PublishFailures, OnlineUsers, Due, Unannounced, OldestUnannounced, SweepDuration, SweepLag}
}

// Recorder takes measured values. Implementations are safe for concurrent use.
type Recorder interface {
	// Record adds one value; labels are the values of the metric's Dimensions,
	// in their order.
	Record(m Metric, value float64, labels ...string)
}

// Discard is a Recorder that keeps nothing.
type Discard struct{}

var _ Recorder = Discard{}

// Record implements [Recorder].
func (Discard) Record(Metric, float64, ...string) {}
