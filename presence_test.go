package presence_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"pgregory.net/rapid"

	"presence"
)

// Times survive JSON, and their texts sort as they do, which clients rely on
// when they compare asOf.
func TestTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		moment := rapid.Int64Range(day.UnixMilli(), day.AddDate(200, 0, 0).UnixMilli())
		a, b := presence.Time(moment.Draw(t, "a")), presence.Time(moment.Draw(t, "b"))
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back presence.Time
		if err := json.Unmarshal(text, &back); err != nil || back != a {
			t.Fatalf("%s comes back as %d (%v), was %d", text, back, err, a)
		}
		if (a < b) != (a.String() < b.String()) {
			t.Fatalf("%s and %s do not sort as %d and %d", a, b, a, b)
		}
	})
}

func TestTimeJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]presence.Time{
		`null`:                            0,
		`"2026-11-23T17:30:56.123Z"`:      1795455056123,
		`"2026-11-23T18:30:56.123+01:00"`: 1795455056123,
	} {
		var got presence.Time
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{`1`, `"yesterday"`, `""`, `{}`} {
		var got presence.Time
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is taken for a time", text)
		}
	}
	if text, _ := json.Marshal(presence.Time(0)); string(text) != "null" {
		t.Errorf("no time is %s, want null", text)
	}
}

func TestTimingValidate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		heartbeat, timeout, retention time.Duration
		ok                            bool
	}{
		"fast":               {10 * time.Second, 35 * time.Second, time.Hour, true},
		"normal":             {30 * time.Second, 75 * time.Second, time.Hour, true},
		"eco":                {60 * time.Second, 210 * time.Second, time.Hour, true},
		"just-enough":        {30 * time.Second, 60 * time.Second, time.Hour, true},
		"one-late-beat":      {30 * time.Second, 60*time.Second - 1, time.Hour, false},
		"no-heartbeat":       {0, 75 * time.Second, time.Hour, false},
		"timeout-over-a-day": {30 * time.Second, 25 * time.Hour, 48 * time.Hour, false},
		"forgets-too-early":  {30 * time.Second, 75 * time.Second, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := presence.Timing{Heartbeat: test.heartbeat, Timeout: test.timeout, Retention: test.retention}.Validate()
			if (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAsError(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.1: refused")
	unknown := presence.AsError(cause)
	if unknown.Code != presence.Internal || strings.Contains(unknown.Message, "10.0.0.1") || !errors.Is(unknown, cause) {
		t.Errorf("an unknown error is %+v: want Internal, its text only the cause", unknown)
	}
	known := presence.Errorf(presence.Unavailable, "Try again.")
	if got := presence.AsError(errors.Join(errors.New("first"), known)); got != known {
		t.Errorf("got %+v, want the error within", got)
	}
}

// Go's list of Presence's fields is the schema's. Everything else that needs the
// list is made from one of the two.
func TestFields(t *testing.T) {
	t.Parallel()
	doc, err := parser.ParseSchema(&ast.Source{Input: presence.Schema})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, field := range doc.Definitions.ForName("Presence").Fields {
		want = append(want, field.Name)
	}
	if diff := cmp.Diff(want, presence.Fields()); diff != "" {
		t.Errorf("-schema +struct:\n%s", diff)
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	topic := presence.UserTopic(strings.Repeat("\u00e9", 64))
	if len(topic) > 64 {
		t.Errorf("%s has %d characters; at most 64 are allowed", topic, len(topic))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if (presence.UserTopic(a) == presence.UserTopic(b)) != (a == b) {
			t.Fatalf("%q has topic %s, %q has %s", a, presence.UserTopic(a), b, presence.UserTopic(b))
		}
	})
}

// The schema is all that many of its users read.
func TestSchemaIsDescribed(t *testing.T) {
	t.Parallel()
	doc, err := parser.ParseSchema(&ast.Source{Input: presence.Schema})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, description string) {
		if strings.TrimSpace(description) == "" {
			t.Errorf("%s has no description", what)
		}
	}
	roots := map[string]bool{"Query": true, "Mutation": true, "Subscription": true}
	for _, def := range doc.Definitions {
		if !roots[def.Name] {
			check(def.Name, def.Description)
		}
		for _, field := range def.Fields {
			check(def.Name+"."+field.Name, field.Description)
			for _, arg := range field.Arguments {
				check(def.Name+"."+field.Name+"("+arg.Name+")", arg.Description)
			}
		}
		for _, value := range def.EnumValues {
			check(def.Name+"."+value.Name, value.Description)
		}
	}
}
