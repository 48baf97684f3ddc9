package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestFigure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		figure figure
		want   string
	}{
		"no-limit":       {figure{"x", 2.5, "ms", 0, target{}}, `{"name":"x","value":2.5,"unit":"ms","ok":true}`},
		"value-reached":  {figure{"x", 2, "ms", 0, atMost(2)}, `{"name":"x","value":2,"unit":"ms","target":"value <= 2","ok":true}`},
		"value-missed":   {figure{"x", 3, "ms", 6, atMost(2)}, `{"name":"x","value":3,"unit":"ms","limit":6,"ratio":0.5,"target":"value <= 2","ok":false}`},
		"ratio-reached":  {figure{"x", 8, "calls/s", 10, ratioAtLeast(0.8)}, `{"name":"x","value":8,"unit":"calls/s","limit":10,"ratio":0.8,"target":"ratio >= 0.8","ok":true}`},
		"ratio-too-high": {figure{"x", 20, "µs", 10, ratioAtMost(1.5)}, `{"name":"x","value":20,"unit":"µs","limit":10,"ratio":2,"target":"ratio <= 1.5","ok":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			r := report{out: &out, json: true}
			r.add(test.figure)
			if got := strings.TrimSpace(out.String()); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if missed := strings.Contains(test.want, "false"); missed != (r.missed == 1) {
				t.Errorf("missed: %d", r.missed)
			}
		})
	}
}

func TestUnknownPart(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"handlr"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `no part "handlr"`) {
		t.Errorf("got %v", err)
	}
}
