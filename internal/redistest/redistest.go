// Package redistest starts Redis for tests: the embedded one, and real
// redis-servers on ports of their own.
package redistest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"presence/internal/redisserver"
)

// Embedded starts a miniredis whose clock stands still until it is moved. It
// returns the server's URL and a function that moves its clock.
func Embedded(tb testing.TB) (url string, advance func(time.Duration)) {
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
func Require(tb testing.TB, what, executable string) string {
	tb.Helper()
	path, err := exec.LookPath(executable)
	if err != nil {
		Missing(tb, what, executable+" is not on the PATH: install it to run this test")
	}
	return path
}

// Missing skips a test that lacks what it needs, or fails it if
// PRESENCE_TEST_REQUIRE, a list separated by commas, names that.
func Missing(tb testing.TB, what, message string) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("PRESENCE_TEST_REQUIRE"), ","), what) {
		tb.Fatal(message)
	}
	tb.Skip(message)
}

// Server is a real redis-server.
type Server struct{ *redisserver.Server }

// Start starts a redis-server on a free port, with more arguments if need be,
// and stops it when the test ends. Without one on the PATH the test is skipped.
func Start(tb testing.TB, args ...string) Server {
	tb.Helper()
	Require(tb, "redis", "redis-server")
	s, err := redisserver.Start(tb.TempDir(), args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Kill)
	return Server{s}
}

// Run starts the server again after it was killed, and waits until it answers.
func (s Server) Run(tb testing.TB) {
	tb.Helper()
	if err := s.Server.Run(); err != nil {
		tb.Fatal(err)
	}
}

// StartCluster starts a Redis Cluster of three masters and returns the URL of
// one of them.
func StartCluster(tb testing.TB) string {
	tb.Helper()
	Require(tb, "redis", "redis-server")
	Require(tb, "redis", "redis-cli")
	nodes, err := redisserver.StartCluster(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	for _, node := range nodes {
		tb.Cleanup(node.Kill)
	}
	return nodes[0].URL
}

// Pause waits between two looks at a condition.
func Pause(d time.Duration) { <-time.After(d) }
