package redisstore

import (
	"errors"
	"testing"
	"time"

	"presence"
)

// A reply that is not as expected is an error, never a panic, whatever is in it.
func TestReplyUnexpected(t *testing.T) {
	t.Parallel()
	values := []any{nil, int64(1), "text", "1 connected connect", "x connected connect", "1 connected", []any{}, []any{"alice"}, []any{int64(1)}, 1.5, true}
	for name, test := range map[string]struct {
		good   []any
		decode func(values []any) error
	}{
		"write": {
			[]any{int64(1), int64(2), int64(3), "\nhttps://example.com/\nHome", "connected"},
			func(values []any) error { r := reply{rest: values}; r.write(); return r.err },
		},
		"status": {
			[]any{int64(1), int64(2), int64(3), nil, "1 connected connect"},
			func(values []any) error { r := reply{rest: values}; r.status(); return r.err },
		},
		"beat": {
			[]any{[]any{int64(1), int64(2), "page"}},
			func(values []any) error { _, err := beatReply(values[0], "", time.Minute); return err },
		},
		"sweep": {
			[]any{[]any{"alice", int64(1), int64(2), int64(3), "1 changed connect"}, int64(1), int64(2), int64(3), int64(4), int64(5), int64(6)},
			func(values []any) error { r := reply{rest: values}; r.sweep(); return r.err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.decode(test.good); err != nil {
				t.Fatal(err)
			}
			for n := range test.good {
				if n > 0 {
					if err := test.decode(test.good[:n]); !errors.Is(err, errReply) {
						t.Errorf("%d values: %v", n, err)
					}
				}
				wrong := 0
				for _, value := range values {
					bad := append([]any{}, test.good...)
					bad[n] = value
					if err := test.decode(bad); errors.Is(err, errReply) {
						wrong++
					} else if err != nil {
						t.Errorf("%v as value %d: %v", value, n, err)
					}
				}
				if wrong == 0 {
					t.Errorf("every value will do as value %d", n)
				}
			}
		})
	}
}

// What the caller is told of an unexpected reply is that something is wrong here,
// not that Redis is out of reach.
func TestReplyUnexpectedIsDefect(t *testing.T) {
	t.Parallel()
	r := reply{}
	r.write()
	if code := presence.AsError(failed("touch", r.err)).Code; code != presence.Internal {
		t.Errorf("code %s", code)
	}
}
