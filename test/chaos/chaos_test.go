package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"presence"
	"presence/internal/client"
	_ "presence/internal/local" // what is run: a change to it runs the tests again
	"presence/internal/testenv"
)

const (
	heartbeat = time.Second
	timeout   = 2500 * time.Millisecond
	// patience is how long the parts have to be of one mind again. They mostly are
	// within seconds; but of what AppSync loses when it is killed a watcher hears
	// when it asks, a minute after its last question.
	patience = 90 * time.Second
	keys     = "AKIDEXAMPLE:secret"
)

var names = []string{"ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal"}

// programs builds the two binaries.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "presence/cmd/presence", "presence/cmd/lambda").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// Every part in turn is killed and started again, and stopped for a while.
func TestParts(t *testing.T) {
	t.Parallel()
	// What is killed here is the server, not what it has stored.
	server := testenv.Redis(t, "--appendonly", "yes")
	s := newStack(t, "--redis-url", server.URL)
	views := s.watch(t, names...)
	load := s.load(t, names...)

	for _, part := range []*process{s.api, s.bus} {
		name := part.args[1]
		t.Logf("kill %s", name)
		part.kill()
		load.tried(t)
		part.run(t)
		load.served(t)
		t.Logf("stop %s", name)
		part.signal(t, syscall.SIGSTOP)
		load.tried(t)
		part.signal(t, syscall.SIGCONT)
		load.served(t)
	}
	s.troubleInstances(t, load)
	troubleRedis(t, server, load)
	s.converge(t, load, views)
}

// troubleInstances kills the Lambda function's instances, and stops them.
func (s *stack) troubleInstances(t *testing.T, load people) {
	t.Helper()
	for range 3 {
		t.Log("kill the Lambda instances")
		s.signalInstances(t, syscall.SIGKILL)
		load.served(t)
	}
	t.Log("stop the Lambda instances")
	s.signalInstances(t, syscall.SIGSTOP)
	load.tried(t)
	s.signalInstances(t, syscall.SIGCONT)
	load.served(t)
}

// troubleRedis kills Redis, stops it and cuts connections to it.
func troubleRedis(t *testing.T, server *testenv.Server, load people) {
	t.Helper()
	t.Log("kill Redis")
	server.Kill()
	load.tried(t)
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	load.served(t)
	t.Log("stop Redis")
	signal(t, server.Process(), syscall.SIGSTOP)
	load.tried(t)
	signal(t, server.Process(), syscall.SIGCONT)
	load.served(t)
	t.Log("cut connections to Redis")
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer admin.Close()
	for n := range 10 {
		if err := admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err(); err != nil {
			t.Fatal(err)
		}
		load[n%len(load):][:1].tried(t)
	}
}

// A Redis that restarts empty has forgotten everybody: who is still there comes
// back with the next heartbeat, and is announced.
func TestRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := newStack(t, "--redis-url", server.URL)
	views := s.watch(t, names...)
	load := s.load(t, names...)
	load.served(t)
	server.Kill()
	load.tried(t)
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	load.served(t)
	s.converge(t, load, views)
}

// Nobody can beat for longer than the timeout, and nobody has gone.
func TestOutageAnnouncesNobody(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := newStack(t, "--redis-url", server.URL)
	load := s.load(t, names...)
	load.served(t)
	for _, l := range load {
		eventually(t, patience, l.opened)
		l.settle()
	}
	views := s.watch(t, names...)
	s.agree(t, load, views)
	announced := views[0].offline()
	instances := s.instances(t)
	s.api.signal(t, syscall.SIGSTOP)
	signalAll(instances, syscall.SIGSTOP)
	passes(t, server.Addr, 3*timeout)
	// Sweeps go on before anybody can beat.
	resumed := redisTime(t, server.Addr)
	signalAll(instances, syscall.SIGCONT)
	eventually(t, patience, func() error { return sweptSince(t, server.Addr, resumed) })
	if got := online(t, server.Addr); got != len(names) {
		t.Errorf("after the outage %d of %d are left", got, len(names))
	}
	s.api.signal(t, syscall.SIGCONT)
	passes(t, server.Addr, 2*timeout) // whoever was to be taken offline would have been by then
	if got := views[0].offline() - announced; got != 0 {
		t.Errorf("%d people who were there were announced offline", got)
	}
	s.converge(t, load, views)
}

// redisTime returns the time of Redis, in ms.
func redisTime(t *testing.T, addr string) int64 {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	now, err := client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now.UnixMilli()
}

// sweptSince returns an error unless every shard was swept after a time.
func sweptSince(t *testing.T, addr string, since int64) error {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	shards, err := client.Keys(t.Context(), "*:shard").Result()
	if err != nil {
		return err
	}
	for _, key := range shards {
		swept, err := client.HGet(t.Context(), key, "swept").Int64()
		if err != nil {
			return err
		}
		if swept < since {
			return fmt.Errorf("%s was last swept at %d, before %d", key, swept, since)
		}
	}
	return nil
}

// online returns how many users no sweep has taken offline.
func online(t *testing.T, addr string) (n int) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*:online").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		users, err := client.ZCard(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += int(users)
	}
	return n
}

// A master of a cluster dies, and its replica takes over.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "redis", "redis-server")
	testenv.Require(t, "redis", "redis-cli")
	dir := t.TempDir()
	nodes, err := testenv.StartRedisCluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		t.Cleanup(node.Kill)
	}
	dying := nodes[1]
	addReplica(t, dir, dying)
	s := newStack(t, "--redis-url", nodes[0].URL, "--redis-cluster")
	views := s.watch(t, names...)
	load := s.load(t, names...)
	load.served(t)
	dying.Kill()
	survivor := redis.NewClient(&redis.Options{Addr: nodes[0].Addr})
	defer survivor.Close()
	eventually(t, 30*time.Second, func() error {
		info, err := survivor.ClusterInfo(t.Context()).Result()
		if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_fail:0")) {
			err = fmt.Errorf("no failover yet:\n%s", info)
		}
		return err
	})
	s.converge(t, load, views)
}

// addReplica gives a master of a cluster a replica and waits until it has all.
func addReplica(t *testing.T, dir string, master *testenv.Server) {
	t.Helper()
	node, err := testenv.StartRedis(dir, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "replica.conf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Kill)
	if out, err := exec.Command("redis-cli", "--cluster", "add-node", node.Addr, master.Addr, "--cluster-slave", "--cluster-master-id", nodeID(t, master)).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster add-node: %v\n%s", err, out)
	}
	client := redis.NewClient(&redis.Options{Addr: node.Addr})
	defer client.Close()
	eventually(t, 20*time.Second, func() error {
		info, err := client.Info(t.Context(), "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = fmt.Errorf("not replicating yet:\n%s", info)
		}
		return err
	})
}

func nodeID(t *testing.T, node *testenv.Server) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: node.Addr})
	defer client.Close()
	id, err := client.Do(t.Context(), "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// passes waits until Redis' clock has gone on by d.
func passes(t *testing.T, addr string, d time.Duration) {
	t.Helper()
	end := redisTime(t, addr) + d.Milliseconds()
	eventually(t, patience, func() error {
		if now := redisTime(t, addr); now < end {
			return fmt.Errorf("it is %d, and %d is waited for", now, end)
		}
		return nil
	})
}

// eventually waits until there is no error any more.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.After(limit)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for err := check(); err != nil; err = check() {
		select {
		case <-deadline:
			t.Fatal(err)
		case <-again.C:
		}
	}
}

// process is a part in a process of its own.
type process struct {
	args []string
	addr string
	cmd  *exec.Cmd
}

// run starts the part and waits until it listens.
func (p *process) run(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	signal(t, p.cmd.Process, s)
}

func signal(t *testing.T, p *os.Process, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stack is the API: AppSync, which runs the Lambda function's instances, and
// EventBridge.
type stack struct {
	endpoint string
	api, bus *process
}

func newStack(t *testing.T, args ...string) *stack {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	api, bus := freeAddr(t), freeAddr(t)
	s := &stack{endpoint: "http://" + api + "/graphql"}
	s.bus = &process{addr: bus, args: []string{filepath.Join(dir, "presence"), "eventbridge", "--addr", bus, "--endpoint", s.endpoint, "--iam-key", keys}}
	s.api = &process{addr: api, args: append([]string{
		filepath.Join(dir, "presence"), "serve", "--addr", api, "--iam-key", keys,
		"--bootstrap", filepath.Join(dir, "lambda"), "--event-bridge", "http://" + bus,
		"--heartbeat", heartbeat.String(), "--timeout", timeout.String(),
	}, args...)}
	s.bus.run(t)
	t.Cleanup(s.bus.kill)
	s.api.run(t)
	t.Cleanup(func() {
		// It ends its instances itself, if it is let.
		_ = s.api.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.api.cmd.Wait()
	})
	return s
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// instances returns the process ids of the Lambda function's instances.
func (s *stack) instances(t *testing.T) (pids []int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.api.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range threads {
		text, _ := os.ReadFile(file) // The thread may have ended.
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (s *stack) signalInstances(t *testing.T, sig syscall.Signal) {
	t.Helper()
	signalAll(s.instances(t), sig)
}

// signalAll signals processes that may just have ended.
func signalAll(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

func (s *stack) as(t *testing.T, user string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Endpoint: s.endpoint, Authorize: client.Local(s.endpoint, user)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// view is what a watcher was last told of everybody.
type view struct {
	mu       sync.Mutex
	told     map[string]string
	offlines int
}

// watch starts two watchers.
func (s *stack) watch(t *testing.T, users ...string) []*view {
	t.Helper()
	views := []*view{{told: map[string]string{}}, {told: map[string]string{}}}
	for _, v := range views {
		c := s.as(t, "watcher")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		t.Cleanup(func() {
			cancel()
			<-done
		})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				err := c.Watch(ctx, users, client.Watcher{Changed: v.changed})
				if err != nil && presence.AsError(err).Code != presence.Unavailable {
					t.Errorf("watch: %v", err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(heartbeat):
				}
			}
		}()
	}
	return views
}

func (v *view) changed(p presence.Presence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told[p.UserID] = describe(p)
	if p.Status == presence.Offline {
		v.offlines++
	}
}

func (v *view) last() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.told)
}

func (v *view) offline() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.offlines
}

func describe(p presence.Presence) string {
	if p.URL == nil {
		return string(p.Status)
	}
	return string(p.Status) + " on " + *p.URL
}

// person uses the API all the time, in one tab after the other, and takes no
// error for an answer.
type person struct {
	name   string
	client *client.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	settled bool
	page    string
	tried   int // calls that have ended
	served  int // those that were answered
}

// people are the load.
type people []*person

// tried waits until a call of everybody's has ended, well or badly.
func (all people) tried(t *testing.T) {
	t.Helper()
	all.more(t, 1, "made a call", func(p *person) int { return p.tried })
}

// served waits until everybody has been answered a call begun from now on.
func (all people) served(t *testing.T) {
	t.Helper()
	// The first call to end may have begun before.
	all.more(t, 2, "been answered", func(p *person) int { return p.served })
}

// more waits until a count of everybody's has grown by n.
func (all people) more(t *testing.T, n int, what string, count func(*person) int) {
	t.Helper()
	read := func(p *person) int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return count(p)
	}
	want := map[*person]int{}
	for _, p := range all {
		want[p] = read(p) + n
	}
	eventually(t, patience, func() error {
		for _, p := range all {
			if read(p) < want[p] {
				return fmt.Errorf("%s has not %s", p.name, what)
			}
		}
		return nil
	})
}

func (s *stack) load(t *testing.T, users ...string) (all people) {
	t.Helper()
	for _, user := range users {
		ctx, cancel := context.WithCancel(context.Background())
		p := &person{name: user, client: s.as(t, user), cancel: cancel, done: make(chan struct{})}
		t.Cleanup(p.vanish)
		go p.live(ctx)
		all = append(all, p)
	}
	return all
}

// settle has the person stay on one page.
func (p *person) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
}

// opened returns an error until the person has opened a page.
func (p *person) opened() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.page == "" {
		return fmt.Errorf("%s has not opened a page", p.name)
	}
	return nil
}

// vanish ends the person without a word.
func (p *person) vanish() {
	p.cancel()
	<-p.done
}

func (p *person) live(ctx context.Context) {
	defer close(p.done)
	session, opened := 0, true
	for n := 0; ctx.Err() == nil; n++ {
		call, cancel := context.WithTimeout(ctx, 3*time.Second)
		p.mu.Lock()
		if !p.settled && n%3 == 0 {
			p.page, opened = fmt.Sprintf("https://site.example/%s/%d", p.name, n), true
		}
		page := presence.Page{URL: p.page, Title: p.name}
		if !p.settled && n%7 == 6 {
			_, _ = p.client.Disconnect(call, fmt.Sprint(session), time.Second)
			session, opened = session+1, true
		}
		p.mu.Unlock()
		var err error
		if opened {
			_, err = p.client.Connect(call, fmt.Sprint(session), page)
		} else {
			_, err = p.client.Heartbeat(call, fmt.Sprint(session), page)
		}
		cancel()
		p.mu.Lock()
		p.tried++
		if err == nil {
			p.served++
		}
		p.mu.Unlock()
		wait := heartbeat - rand.N(heartbeat/10)
		if err != nil {
			wait = rand.N(heartbeat / 2)
		} else {
			opened = false
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// converge ends the trouble: every other person goes, half of those saying so,
// the others stay on one page; and then everybody has to know.
func (s *stack) converge(t *testing.T, load people, views []*view) {
	t.Helper()
	for i, p := range load {
		p.settle()
		switch i % 4 {
		case 0:
			p.vanish()
		case 2:
			p.vanish()
			_, _ = p.client.Disconnect(t.Context(), "0", 0) // Or it has vanished, too.
		}
	}
	s.agree(t, load, views)
}

// agree waits until Redis and the watchers say of everybody what is true.
func (s *stack) agree(t *testing.T, load people, views []*view) {
	t.Helper()
	want := map[string]string{}
	for _, p := range load {
		p.mu.Lock()
		want[p.name] = "online on " + p.page
		p.mu.Unlock()
		select {
		case <-p.done:
			want[p.name] = "offline"
		default:
		}
	}
	asker := s.as(t, "asker")
	start := time.Now()
	eventually(t, patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		all, err := asker.Status(ctx, names...)
		if err != nil {
			return err
		}
		known := map[string]string{}
		for _, p := range all {
			known[p.UserID] = describe(p)
		}
		if diff := cmp.Diff(want, known); diff != "" {
			return fmt.Errorf("the truth and what Redis knows (-truth +Redis):\n%s", diff)
		}
		for i, v := range views {
			if diff := cmp.Diff(want, v.last()); diff != "" {
				return fmt.Errorf("the truth and what watcher %d was last told (-truth +told):\n%s", i, diff)
			}
		}
		return nil
	})
	t.Logf("of one mind after %v", time.Since(start).Round(100*time.Millisecond))
}
