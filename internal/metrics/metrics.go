// Package metrics names what the API measures of itself. The Lambda writes the
// metrics in CloudWatch Embedded Metric Format, the local server shows the
// same names as Prometheus text, and the stack's alarms and dashboard are
// tested against this list.
package metrics

// Namespace is the CloudWatch namespace of every metric.
const Namespace = "Presence"

// Metric describes one metric.
type Metric struct {
	Name string
	// Unit is CloudWatch's: Count or Milliseconds.
	Unit string
	// Dimensions are the names of the labels every value carries.
	Dimensions []string
	Help       string
}

// The metrics there are.
var (
	Operations        = Metric{"Operations", "Count", []string{"Field", "Result"}, "GraphQL fields answered; Result is OK or the error's code."}
	Latency           = Metric{"Latency", "Milliseconds", []string{"Field"}, "Time the handler took for a GraphQL field."}
	OnlineUsers       = Metric{"OnlineUsers", "Count", nil, "Users online at the last sweep."}
	Transitions       = Metric{"Transitions", "Count", []string{"Reason"}, "Changes of a user's status."}
	Unannounced       = Metric{"Unannounced", "Count", nil, "Changes nobody has acknowledged announcing, at the last sweep."}
	Announced         = Metric{"Announced", "Count", nil, "Changes announced to subscribers and acknowledged."}
	OldestUnannounced = Metric{"OldestUnannounced", "Milliseconds", nil, "Age of the oldest unannounced change that is due."}
	PublishFailures   = Metric{"PublishFailures", "Count", nil, "Events EventBridge did not take; each is tried again."}
	SweepDuration     = Metric{"SweepDuration", "Milliseconds", nil, "Time one pass over all shards took, publishing included."}
	SweepLag          = Metric{"SweepLag", "Milliseconds", nil, "How long after its deadline an expiry was found."}
)

// All returns every metric.
func All() []Metric {
	return []Metric{Operations, Latency, OnlineUsers, Transitions, Unannounced, Announced, OldestUnannounced, PublishFailures, SweepDuration, SweepLag}
}

// Recorder takes measured values. Implementations are safe for concurrent use.
type Recorder interface {
	// Record adds one value; labels are the values of the metric's Dimensions,
	// in their order.
	Record(m Metric, value float64, labels ...string)
}
