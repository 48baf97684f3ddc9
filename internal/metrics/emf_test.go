package metrics_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"presence/internal/metrics"
)

func TestEMF(t *testing.T) {
	var out bytes.Buffer
	now := time.UnixMilli(1_800_000_000_000)
	emf := metrics.NewEMF(&out, func() time.Time { return now })
	emf.Record(metrics.Operations, 1, "heartbeat", "OK")
	emf.Record(metrics.Operations, 2, "heartbeat", "OK")
	if out.Len() != 0 {
		t.Fatal("written before the minute is over")
	}
	now = now.Add(time.Minute)
	emf.Record(metrics.Operations, 1, "heartbeat", "OK")
	const want = `{"Field":"heartbeat","Operations":[4],"Result":"OK","_aws":{"CloudWatchMetrics":[{"Namespace":"Presence","Dimensions":[["Field","Result"]],"Metrics":[{"Name":"Operations","Unit":"Count"}]}],"Timestamp":1800000060000}}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEMFKinds(t *testing.T) {
	var out bytes.Buffer
	emf := metrics.NewEMF(&out, nil)
	for _, value := range []float64{3, 1, 2} {
		emf.Record(metrics.OnlineUsers, value)
		emf.Record(metrics.SweepLag, value)
		emf.Record(metrics.Due, value)
	}
	emf.Flush()
	got := map[string][]float64{}
	for line := range strings.Lines(out.String()) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for _, m := range metrics.All() {
			if raw, ok := fields[m.Name]; ok {
				var values []float64
				if err := json.Unmarshal(raw, &values); err != nil {
					t.Fatal(err)
				}
				got[m.Name] = values
			}
		}
	}
	want := map[string][]float64{"OnlineUsers": {2}, "SweepLag": {3, 1, 2}, "Due": {6}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// CloudWatch takes at most 100 values of a metric in one line.
func TestEMFManyValues(t *testing.T) {
	var out bytes.Buffer
	emf := metrics.NewEMF(&out, nil)
	for range 250 {
		emf.Record(metrics.SweepLag, 1)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 {
		t.Errorf("got %d lines of 100 values, want 2", lines)
	}
}
