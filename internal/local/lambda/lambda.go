// Package lambda runs a Lambda function's bootstrap on a laptop: it is the
// Runtime API of the functions it starts.
//
// See "Using the Lambda runtime API for custom runtimes" in the Lambda
// developer guide.
package lambda

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
)

// Function is a function and its running instances. Its exported fields must
// not change once it was invoked. It is safe for concurrent use.
type Function struct {
	// Bootstrap is the executable, Env its environment beside what Lambda sets.
	Bootstrap string
	Env       []string
	// Output takes what instances print. Nil means nowhere.
	Output io.Writer
	// Timeout is the function's time limit. Zero means 30 seconds.
	Timeout time.Duration

	mu      sync.Mutex
	idle    []*instance
	running map[*instance]struct{}
	closed  bool
}

// Invoke has an idle instance answer, or starts another: an instance answers
// one event at a time. An error the function returns is a
// [messages.InvokeResponse_Error]; so is an instance that exits, of type
// Runtime.ExitError.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	in, err := f.take()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(f.Timeout, 30*time.Second))
	defer cancel()
	reply, err := in.invoke(ctx, payload)
	if ctx.Err() != nil {
		// As Lambda does with an instance over its time.
		in.kill()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.running[in]; ok {
		f.idle = append(f.idle, in)
	}
	return reply, err
}

// Processes returns the running instances' processes, for tests that stop or
// kill them.
func (f *Function) Processes() []*os.Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*os.Process
	for in := range f.running {
		all = append(all, in.cmd.Process)
	}
	return all
}

// Close ends the instances and waits for them.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	var all []*instance
	for in := range f.running {
		all = append(all, in)
	}
	f.mu.Unlock()
	for _, in := range all {
		in.kill()
		<-in.exited
	}
}

func (f *Function) take() (*instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("lambda: the function is closed")
	}
	if n := len(f.idle); n > 0 {
		in := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return in, nil
	}
	in, err := f.start()
	if err != nil {
		return nil, err
	}
	if f.running == nil {
		f.running = map[*instance]struct{}{}
	}
	f.running[in] = struct{}{}
	go func() {
		_ = in.cmd.Wait()
		in.server.Close()
		f.mu.Lock()
		delete(f.running, in)
		for i := range f.idle {
			if f.idle[i] == in {
				f.idle = append(f.idle[:i], f.idle[i+1:]...)
				break
			}
		}
		f.mu.Unlock()
		close(in.exited)
	}()
	return in, nil
}

// instance is one process and its own Runtime API.
type instance struct {
	cmd    *exec.Cmd
	server *http.Server
	next   chan event
	exited chan struct{}
	// The event under way is the only one, so an id tells an answer that comes
	// too late from the one that is waited for.
	mu      sync.Mutex
	id      int
	answers chan answer
}

type event struct {
	id       int
	payload  []byte
	deadline time.Time
}

type answer struct {
	reply []byte
	err   error
}

func (f *Function) start() (*instance, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("lambda: %w", err)
	}
	in := &instance{next: make(chan event), exited: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", in.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", in.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", in.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	in.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = in.server.Serve(listener) }()

	in.cmd = exec.Command(f.Bootstrap)
	in.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=presence",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_FORMAT=JSON",
		"_HANDLER=bootstrap",
	}, f.Env...)
	in.cmd.Stdout, in.cmd.Stderr = f.Output, f.Output
	if err := in.cmd.Start(); err != nil {
		in.server.Close()
		return nil, fmt.Errorf("lambda: %w", err)
	}
	return in, nil
}

func (in *instance) kill() { _ = in.cmd.Process.Kill() }

func (in *instance) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	in.mu.Lock()
	in.id++
	answers := make(chan answer, 1)
	in.answers = answers
	e := event{id: in.id, payload: payload}
	in.mu.Unlock()
	e.deadline, _ = ctx.Deadline()
	select {
	case in.next <- e:
	case <-in.exited:
		return nil, exitError()
	case <-ctx.Done():
		return nil, timeoutError()
	}
	select {
	case a := <-answers:
		return a.reply, a.err
	case <-in.exited:
		return nil, exitError()
	case <-ctx.Done():
		return nil, timeoutError()
	}
}

func exitError() error {
	return messages.InvokeResponse_Error{Type: "Runtime.ExitError", Message: "The runtime exited before it answered."}
}

func timeoutError() error {
	return messages.InvokeResponse_Error{Type: "Sandbox.Timedout", Message: "The task timed out."}
}

func (in *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case e := <-in.next:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", strconv.Itoa(e.id))
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:presence")
		_, _ = w.Write(e.payload)
	case <-r.Context().Done():
	}
}

func (in *instance) serveResponse(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	in.answer(w, r, answer{body, err})
}

func (in *instance) serveError(w http.ResponseWriter, r *http.Request) {
	var failure messages.InvokeResponse_Error
	if err := json.NewDecoder(r.Body).Decode(&failure); err != nil {
		failure = messages.InvokeResponse_Error{Type: "Runtime.BadError", Message: err.Error()}
	}
	in.answer(w, r, answer{nil, failure})
}

func (in *instance) answer(w http.ResponseWriter, r *http.Request, a answer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if r.PathValue("id") != strconv.Itoa(in.id) || in.answers == nil {
		http.Error(w, "no such request", http.StatusBadRequest)
		return
	}
	in.answers <- a
	in.answers = nil
	w.WriteHeader(http.StatusAccepted)
}
