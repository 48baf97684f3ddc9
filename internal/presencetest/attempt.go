package presencetest

import (
	"fmt"
	"testing"
	"time"
)

// maxAttempts is how often a test may fail because its clock ran ahead.
const maxAttempts = 10

// run runs a test.
//
// A test says how far the clock moves from step to step. A clock that moves by
// itself moves further if the machine is busy: a session has then expired, or a
// note is due again, before the test looks. A failure only counts if the clock
// has kept to the test's steps, within half a lease. Otherwise the test is
// repeated on another store.
func run(t *testing.T, newBackend func(*testing.T) Backend, test func(testing.TB, *subject)) {
	for range maxAttempts {
		a := &attempt{T: t}
		s := &subject{t: a, Backend: newBackend(t)}
		ahead := func() time.Duration { return 0 }
		if s.Now != nil {
			start := s.Now()
			ahead = func() time.Duration { return s.Now().Sub(start) - s.moved }
		}
		a.run(func() { test(a, s) })
		if d := ahead(); len(a.failures) > 0 && d > s.Lease/2 {
			t.Logf("repeated, because the clock was %v ahead of the test: %s", d, a.failures)
			continue
		}
		for _, failure := range a.failures {
			t.Error(failure)
		}
		return
	}
	t.Errorf("the clock was ahead of the test %d times: this machine is too busy", maxAttempts)
}

// attempt is a run of a test whose failures may not count.
type attempt struct {
	*testing.T
	failures []string
}

// fatal ends an attempt, as testing's FailNow ends a test.
type fatal struct{}

func (a *attempt) run(test func()) {
	defer func() {
		if p := recover(); p != nil && p != (fatal{}) {
			panic(p)
		}
	}()
	test()
}

// Errorf implements [testing.TB].
func (a *attempt) Errorf(format string, args ...any) {
	a.failures = append(a.failures, fmt.Sprintf(format, args...))
}

// Error implements [testing.TB].
func (a *attempt) Error(args ...any) { a.Errorf("%s", fmt.Sprint(args...)) }

// Fatalf implements [testing.TB].
func (a *attempt) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	panic(fatal{})
}

// Fatal implements [testing.TB].
func (a *attempt) Fatal(args ...any) { a.Fatalf("%s", fmt.Sprint(args...)) }
