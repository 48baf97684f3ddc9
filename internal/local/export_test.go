package local

import (
	"github.com/prometheus/client_golang/prometheus"

	"presence/internal/metrics"
)

// StartRedis is tested by itself: its time is the machine's.
var StartRedis = startRedis

// NewRecorder returns a recorder and what is gathered from it.
func NewRecorder() struct {
	metrics.Recorder
	prometheus.Gatherer
} {
	r := newRecorder()
	return struct {
		metrics.Recorder
		prometheus.Gatherer
	}{r, r.registry}
}
