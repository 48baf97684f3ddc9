// Package testenv provides what tests and benchmarks need from this machine:
// an embedded Redis, real redis-servers on free ports, and other programs.
package testenv

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// TB is the part of [testing.TB] this package uses. Taking the interface keeps
// package testing out of commands that import this package.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Skip(args ...any)
	TempDir() string
	Cleanup(func())
}

// Eventually calls check, again and again, until it returns nil. It fails the
// test with check's last error once limit is over.
func Eventually(tb TB, limit time.Duration, check func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatal(err)
		}
	}
}

// Embedded starts a miniredis whose clock stands still until it is moved. It
// returns the server's URL and a function that moves its clock.
func Embedded(tb TB) (url string, advance func(time.Duration)) {
	tb.Helper()
	m := miniredis.RunT(tb)
	now := time.UnixMilli(1_800_000_000_000)
	m.SetTime(now)
	return "redis://" + m.Addr(), func(d time.Duration) {
		now = now.Add(d)
		m.SetTime(now)
		if d > 0 {
			m.FastForward(d)
		}
	}
}

// Require returns where an executable is. Without it the test is treated as
// [Missing] says.
func Require(tb TB, what, executable string) string {
	tb.Helper()
	path, err := exec.LookPath(executable)
	if err != nil {
		Missing(tb, what, executable+" is not on the PATH: install it to run this test")
	}
	return path
}

// Missing skips a test that lacks what it needs, or fails it if
// PRESENCE_TEST_REQUIRE, a list separated by commas, names that.
func Missing(tb TB, what, message string) {
	tb.Helper()
	if Required(what) {
		tb.Fatal(message)
	}
	tb.Skip(message)
}

// Required reports whether PRESENCE_TEST_REQUIRE names what.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("PRESENCE_TEST_REQUIRE"), ","), what)
}
