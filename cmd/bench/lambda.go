package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"presence/internal/local/lambda"
)

// measureLambda runs the bootstrap as it is deployed, and one that does
// nothing, under a Runtime API. A start counts from the process's to the first
// answer, connecting to Redis included.
func measureLambda(ctx context.Context, b *bench) error {
	w, err := newWorld(b, false, silent{})
	if err != nil {
		return err
	}
	defer w.close()
	const users = 10_000
	if err := w.fill(ctx, 0, users, page, noSession); err != nil {
		return err
	}
	head, tail := event("Mutation.heartbeat", visit(page))
	// Of many users: one cannot beat so often that his asOf runs ahead of the time.
	payload := func() []byte { return []byte(head + userID(rand.IntN(users)) + tail) }

	ours, err := b.bootstrap(ctx, "presence/cmd/lambda", "PRESENCE_REDIS_URL="+w.nodes[0].URL,
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none")
	if err != nil {
		return err
	}
	noop, err := b.bootstrap(ctx, "presence/cmd/bench/noop")
	if err != nil {
		return err
	}
	b.add(figure{"lambda/binary", ours.megabytes, "MB", noop.megabytes, atMost(13)})

	if err := b.coldStarts(ctx, ours, noop, payload); err != nil {
		return err
	}
	return b.warmCalls(ctx, ours, noop, payload)
}

// coldStarts measures starts of both functions in turns.
func (b *bench) coldStarts(ctx context.Context, ours, noop *bootstrap, payload func() []byte) error {
	var starts [2][]time.Duration
	for range pick(b, 41, 5) {
		for i, fn := range []*bootstrap{ours, noop} {
			d, err := fn.cold(ctx, payload)
			if err != nil {
				return err
			}
			starts[i] = append(starts[i], d)
		}
	}
	b.add(figure{"lambda/init-and-first-call", median(starts[0], millis), "ms", median(starts[1], millis), atMost(15)})
	return nil
}

// warmCalls measures calls of running instances in turns.
func (b *bench) warmCalls(ctx context.Context, ours, noop *bootstrap, payload func() []byte) error {
	arms := []struct {
		name string
		of   *bootstrap
		env  []string
	}{
		{"noop", noop, nil},
		{"lambda", ours, nil},
		{"lambda/GOMAXPROCS=2", ours, []string{"GOMAXPROCS=2"}},
	}
	rounds := make([][]warm, len(arms))
	for range pick(b, 5, 1) {
		for i, arm := range arms {
			r, err := arm.of.warm(ctx, pick(b, 2*time.Second, 300*time.Millisecond), payload, arm.env...)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], r)
		}
	}
	for i, arm := range arms[1:] {
		for _, f := range []struct {
			name, unit string
			of         func(warm) float64
			target     target
		}{
			{"p50", "µs", func(r warm) float64 { return micros(r.P50) }, target{}},
			{"p99", "µs", func(r warm) float64 { return micros(r.P99) }, target{}},
			{"cpu", "µs/call", func(r warm) float64 { return micros(r.CPU) }, target{}},
			{"peak-memory", "MiB", func(r warm) float64 { return r.peak }, atMost(25)},
		} {
			b.add(figure{arm.name + "/" + f.name, median(rounds[i+1], f.of), f.unit, median(rounds[0], f.of), f.target})
		}
	}
	return nil
}

// bootstrap is a function's executable.
type bootstrap struct {
	path      string
	env       []string
	megabytes float64
}

// bootstrap builds a function as it is deployed.
func (b *bench) bootstrap(ctx context.Context, pkg string, env ...string) (*bootstrap, error) {
	path := filepath.Join(b.dir, filepath.Base(pkg))
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &bootstrap{path, env, float64(info.Size()) / 1e6}, nil
}

func (f *bootstrap) cold(ctx context.Context, payload func() []byte) (time.Duration, error) {
	fn := &lambda.Function{Bootstrap: f.path, Env: f.env}
	defer fn.Close()
	start := time.Now()
	_, err := fn.Invoke(ctx, payload())
	return time.Since(start), err
}

// warm is what calls of a running instance cost.
type warm struct {
	result
	peak float64 // MiB
}

func (f *bootstrap) warm(ctx context.Context, while time.Duration, payload func() []byte, env ...string) (warm, error) {
	fn := &lambda.Function{Bootstrap: f.path, Env: append(env, f.env...)}
	defer fn.Close()
	if _, err := fn.Invoke(ctx, payload()); err != nil {
		return warm{}, err
	}
	pid := fn.Processes()[0].Pid
	before, err := cpuTime(pid)
	if err != nil {
		return warm{}, err
	}
	r, err := load(ctx, 1, while, func(ctx context.Context, _, _ int) error {
		_, err := fn.Invoke(ctx, payload())
		return err
	})
	if err != nil {
		return warm{}, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return warm{}, err
	}
	r.CPU = time.Duration(float64(after-before) / float64(r.calls))
	peak, err := peakMemory(pid)
	return warm{r, peak}, err
}

// cpuTime returns the CPU time a process has used, from proc_pid_stat(5); the
// kernel counts it in hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	_, err = fmt.Sscanf(fields, "%s %d %d %d %d %d %d %d %d %d %d %d %d", new(string),
		new(int), new(int), new(int), new(int), new(int), new(int), new(int), new(int), new(int), new(int), &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// peakMemory returns the most memory a process ever had resident,
// residentMemory what it has now, in MiB.
func peakMemory(pid int) (float64, error)     { return memoryOf(pid, "VmHWM:") }
func residentMemory(pid int) (float64, error) { return memoryOf(pid, "VmRSS:") }

func memoryOf(pid int, field string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), field)
	var kib float64
	_, err = fmt.Sscan(rest, &kib)
	return kib / 1024, err
}
