package metrics_test

import (
	"io"
	"testing"

	"presence/internal/metrics"
)

func BenchmarkRecord(b *testing.B) {
	emf := metrics.NewEMF(io.Discard, nil)
	b.ReportAllocs()
	for b.Loop() {
		emf.Record(metrics.Operations, 1, "heartbeat", "OK")
		emf.Record(metrics.Latency, 0.2, "heartbeat")
	}
}
