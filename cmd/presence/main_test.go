package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is the command too, under the name presence in the PATH: so
// what runs over the network is the real thing, with the race detector where
// the tests have it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"presence": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"until": until,
			"port":  port,
		},
	})
}

// until regexp command...: runs the command until its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until regexp command...")
	}
	want := regexp.MustCompile(args[0])
	var out []byte
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = append(os.Environ(), "PRESENCE_ENDPOINT="+ts.Getenv("PRESENCE_ENDPOINT"))
		out, _ = cmd.CombinedOutput() // Until it succeeds, it may fail.
		if want.Match(out) {
			ts.Logf("%s", bytes.TrimSpace(out))
			return
		}
	}
	ts.Fatalf("no match of %s in\n%s", want, out)
}

// port: chooses a free one, and sets ADDR and PRESENCE_ENDPOINT to it.
func port(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("ADDR", l.Addr().String())
	ts.Setenv("PRESENCE_ENDPOINT", fmt.Sprintf("http://%s/graphql", l.Addr()))
	ts.Check(l.Close())
}
