// Package redistest starts Redis for tests: the embedded one, and real
// redis-servers on ports of their own.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
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

// Require skips a test where what it needs is missing, or fails it if
// PRESENCE_TEST_REQUIRE, a list separated by commas, names it.
func Require(tb testing.TB, what, executable string) string {
	tb.Helper()
	path, err := exec.LookPath(executable)
	if err == nil {
		return path
	}
	message := fmt.Sprintf("%s is not on the PATH: install it to run this test", executable)
	if slices.Contains(strings.Split(os.Getenv("PRESENCE_TEST_REQUIRE"), ","), what) {
		tb.Fatal(message)
	}
	tb.Skip(message)
	return ""
}

// Server is a real redis-server.
type Server struct {
	URL  string
	Addr string
	args []string
	path string
	cmd  *exec.Cmd
}

// Start starts a redis-server on a free port, with more arguments if need be,
// and stops it when the test ends. Without one on the PATH the test is skipped.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := &Server{path: Require(tb, "redis", "redis-server")}
	port := freePort(tb)
	s.Addr = fmt.Sprintf("127.0.0.1:%d", port)
	s.URL = "redis://" + s.Addr
	s.args = append([]string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--dir", tb.TempDir(), "--appendonly", "no", "--protected-mode", "no"}, args...)
	s.Run(tb)
	tb.Cleanup(func() { s.Kill() })
	return s
}

// Run starts the server, again after [Server.Kill], and waits until it answers.
func (s *Server) Run(tb testing.TB) {
	tb.Helper()
	s.cmd = exec.Command(s.path, s.args...)
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer client.Close()
	deadline := time.Now().Add(10 * time.Second)
	for client.Ping(context.Background()).Err() != nil {
		if time.Now().After(deadline) {
			tb.Fatalf("redis-server on %s does not answer", s.Addr)
		}
		Pause(5 * time.Millisecond)
	}
}

// Kill ends the server as kill -9 does. What it held is lost.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Process returns the running server's process.
func (s *Server) Process() *os.Process { return s.cmd.Process }

// StartCluster starts a Redis Cluster of three masters and returns the URL of
// one of them.
func StartCluster(tb testing.TB) string {
	tb.Helper()
	cli := Require(tb, "redis", "redis-cli")
	args := []string{"--cluster", "create"}
	var url string
	for range 3 {
		s := Start(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		args, url = append(args, s.Addr), s.URL
	}
	if out, err := exec.Command(cli, append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		tb.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	opts, _ := redis.ParseURL(url)
	client := redis.NewClient(opts)
	defer client.Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		info, err := client.ClusterInfo(context.Background()).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			return url
		}
		if time.Now().After(deadline) {
			tb.Fatalf("the cluster does not come up: %v %s", err, info)
		}
		Pause(20 * time.Millisecond)
	}
}

// Pause waits between two looks at a condition.
func Pause(d time.Duration) { <-time.After(d) }

// freePort returns a port nobody listens on, low enough for a cluster's bus
// port, which is 10,000 more.
func freePort(tb testing.TB) int {
	tb.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port < 55_000 {
			return port
		}
	}
}
