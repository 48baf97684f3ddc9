package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
)

// figure is one measured value.
type figure struct {
	Name  string
	Value float64
	Unit  string
	// Limit is what the value is held against, measured in the same run and in
	// the same unit; zero if there is nothing to hold it against.
	Limit  float64
	Target target
}

// target is what a figure, or its ratio to the limit, should be at least or at
// most. The zero target is always reached.
type target struct {
	of    string // "value" or "ratio"
	least bool
	bound float64
}

func ratioAtLeast(bound float64) target { return target{"ratio", true, bound} }
func ratioAtMost(bound float64) target  { return target{"ratio", false, bound} }
func atMost(bound float64) target       { return target{"value", false, bound} }

func (t target) String() string {
	bound := strconv.FormatFloat(t.bound, 'g', -1, 64)
	switch {
	case t.of == "":
		return ""
	case t.least:
		return t.of + " >= " + bound
	}
	return t.of + " <= " + bound
}

func (f figure) ratio() float64 {
	if f.Limit == 0 {
		return 0
	}
	return f.Value / f.Limit
}

func (f figure) ok() bool {
	value := f.Value
	if f.Target.of == "ratio" {
		value = f.ratio()
	}
	switch {
	case f.Target.of == "":
		return true
	case f.Target.least:
		return value >= f.Target.bound
	}
	return value <= f.Target.bound
}

// MarshalJSON implements json.Marshaler.
func (f figure) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name   string  `json:"name"`
		Value  float64 `json:"value"`
		Unit   string  `json:"unit"`
		Limit  float64 `json:"limit,omitzero"`
		Ratio  float64 `json:"ratio,omitzero"`
		Target string  `json:"target,omitzero"`
		OK     bool    `json:"ok"`
	}{f.Name, f.Value, f.Unit, f.Limit, f.ratio(), f.Target.String(), f.ok()})
}

// report prints figures, as tables or as lines of JSON.
type report struct {
	out    io.Writer
	json   bool
	table  *tabwriter.Writer
	missed int
}

func (r *report) begin(about string) {
	if !r.json {
		_, _ = fmt.Fprintf(r.out, "\n%s\n", about)
		r.table = tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(r.table, "  figure\tvalue\tunit\tlimit\tratio\ttarget\t")
	}
}

func (r *report) end() {
	if !r.json {
		_ = r.table.Flush()
	}
}

func (r *report) add(f figure) {
	if !f.ok() {
		r.missed++
	}
	if r.json {
		line, _ := json.Marshal(f) // numbers and strings always encode
		_, _ = fmt.Fprintf(r.out, "%s\n", line)
		return
	}
	limit, ratio, verdict := "", "", ""
	if f.Limit != 0 {
		limit, ratio = number(f.Limit), strconv.FormatFloat(f.ratio(), 'f', 2, 64)
	}
	if f.Target.of != "" {
		verdict = "ok"
		if !f.ok() {
			verdict = "MISSED"
		}
	}
	_, _ = fmt.Fprintf(r.table, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, limit, ratio, f.Target, verdict)
}

// number writes three significant digits at least, and no exponent.
func number(v float64) string {
	digits := 0
	if a := math.Abs(v); a != 0 && a < 100 && v != math.Trunc(v) {
		digits = max(0, 2-int(math.Floor(math.Log10(a))))
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
