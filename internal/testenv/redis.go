package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a real redis-server on a free port of this machine. It keeps nothing
// on disk.
type Server struct {
	// URL and Addr are where it listens, as redis://host:port and host:port.
	URL, Addr string
	args      []string
	cmd       *exec.Cmd
}

// Redis starts a redis-server with more arguments if need be, and stops it when
// the test ends. Without one on the PATH the test is skipped, see [Missing].
func Redis(tb TB, args ...string) *Server {
	tb.Helper()
	Require(tb, "redis", "redis-server")
	s, err := StartRedis(tb.TempDir(), args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// RedisCluster starts a Redis Cluster of three masters and returns the URL of
// one of them.
func RedisCluster(tb TB) string {
	tb.Helper()
	Require(tb, "redis", "redis-server")
	Require(tb, "redis", "redis-cli")
	nodes, err := StartRedisCluster(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	for _, node := range nodes {
		tb.Cleanup(node.Kill)
	}
	return nodes[0].URL
}

// StartRedis starts the redis-server on the PATH in the directory dir, with more
// arguments if need be. The caller ends it by [Server.Kill].
func StartRedis(dir string, args ...string) (*Server, error) {
	for {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		s.URL = "redis://" + s.Addr
		s.args = append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no", "--protected-mode", "no",
		}, args...)
		// The port was free a moment ago.
		if err := s.Run(); !errors.Is(err, errTaken) {
			return s, err
		}
	}
}

var errTaken = errors.New("another process has the port")

// Run starts the server, again after [Server.Kill], and waits until it answers.
func (s *Server) Run() error {
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("testenv: %w", err)
	}
	err := s.until(10*time.Second, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "server").Result()
		if err == nil && !strings.Contains(info, fmt.Sprintf("\nprocess_id:%d\r", s.cmd.Process.Pid)) {
			err = errTaken
		}
		return err
	})
	if err != nil {
		s.Kill()
	}
	return err
}

// Kill ends the server as kill -9 does. What it held is lost.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Process returns the running server's process.
func (s *Server) Process() *os.Process { return s.cmd.Process }

// StartRedisCluster starts a Redis Cluster of three masters in the directory dir.
// It needs redis-cli.
func StartRedisCluster(dir string) (nodes []*Server, err error) {
	defer func() {
		if err != nil {
			for _, node := range nodes {
				node.Kill()
			}
		}
	}()
	args := []string{"--cluster", "create"}
	for n := range 3 {
		node, err := StartRedis(dir, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-config-file", fmt.Sprintf("nodes-%d.conf", n))
		if err != nil {
			return nodes, err
		}
		nodes, args = append(nodes, node), append(args, node.Addr)
	}
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		return nodes, fmt.Errorf("testenv: redis-cli --cluster create: %w\n%s", err, out)
	}
	for _, node := range nodes {
		err := node.until(20*time.Second, func(ctx context.Context, c *redis.Client) error {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = fmt.Errorf("the cluster is not up:\n%s", info)
			}
			return err
		})
		if err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// until waits until the server is as ready says.
func (s *Server) until(limit time.Duration, ready func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer client.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx, client)
		if err == nil || errors.Is(err, errTaken) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("testenv: redis-server on %s: %w", s.Addr, err)
		}
	}
}

// freePort returns a port nobody listens on, low enough for a cluster's bus
// port, which is 10,000 more.
func freePort() (int, error) {
	for {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("testenv: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port < 55_000 {
			return port, nil
		}
	}
}
