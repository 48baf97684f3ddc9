package local

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"presence/internal/metrics"
)

// recorder keeps metrics for Prometheus, under its conventions: snake case,
// and seconds.
type recorder struct {
	registry *prometheus.Registry
	record   map[string]func(value float64, labels ...string)
}

var _ metrics.Recorder = (*recorder)(nil)

func newRecorder() *recorder {
	r := &recorder{prometheus.NewRegistry(), make(map[string]func(float64, ...string))}
	for _, m := range metrics.All() {
		name, scale := "presence"+snake(m.Name), 1.0
		if m.Unit == "Milliseconds" {
			name, scale = name+"_seconds", 1000
		}
		labels := make([]string, len(m.Dimensions))
		for i, d := range m.Dimensions {
			labels[i] = snake(d)[1:]
		}
		switch m.Kind {
		case metrics.Counter:
			v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name + "_total", Help: m.Help}, labels)
			r.registry.MustRegister(v)
			r.record[m.Name] = func(value float64, labels ...string) { v.WithLabelValues(labels...).Add(value / scale) }
		case metrics.Gauge:
			v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: m.Help}, labels)
			r.registry.MustRegister(v)
			r.record[m.Name] = func(value float64, labels ...string) { v.WithLabelValues(labels...).Set(value / scale) }
		case metrics.Distribution:
			v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: m.Help}, labels)
			r.registry.MustRegister(v)
			r.record[m.Name] = func(value float64, labels ...string) { v.WithLabelValues(labels...).Observe(value / scale) }
		}
		if m.Kind == metrics.Counter && len(labels) == 0 {
			// What has not happened yet is zero; a counter that is missing is a mistake.
			r.Record(m, 0)
		}
	}
	return r
}

// Record implements [metrics.Recorder].
func (r *recorder) Record(m metrics.Metric, value float64, labels ...string) {
	r.record[m.Name](value, labels...)
}

func (r *recorder) handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{})
}

// snake turns OnlineUsers into _online_users.
func snake(name string) string {
	var b strings.Builder
	for _, c := range name {
		if unicode.IsUpper(c) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
