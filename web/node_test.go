package web_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"presence/internal/testenv"
)

// These tests run the command that a user runs as the server, and mostly Node.
// Where PRESENCE_TEST_REQUIRE has node they install the packages that the lock
// files name; otherwise they are skipped unless npm ci has been run. The client
// library's own tests are run by npm test.

// The pages, in a real browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium := testenv.Require(t, "browser", "chromium")
	packages(t, ".")
	node(t, "browser/*.test.mjs", "CHROMIUM="+chromium)
}

// AppSync's clients as they come, each with packages of its own.
func TestStockClients(t *testing.T) {
	t.Parallel()
	packages(t, ".")
	clients, err := filepath.Glob("stock/*/package.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range clients {
		packages(t, filepath.Dir(client))
	}
	run(t, ".", nil, "npm", "run", "--silent", "prepack", "-w", "client")
	node(t, "stock/*/client.test.mjs")
}

// An AppSync client in Go, which shares no code with ours.
func TestGoClient(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("stock", "appsync-client-go")
	download := exec.CommandContext(t.Context(), "go", "mod", "download")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		testenv.Missing(t, "node", "go mod download: "+err.Error()+"\n"+string(out))
	}
	run(t, dir, []string{"PRESENCE_BIN=" + server(t)}, "go", "test", "-count=1", ".")
}

// Several tests want the same packages, and the same server.
var (
	installing sync.Mutex
	build      = sync.OnceValues(func() ([]byte, error) {
		return exec.Command("go", "build", "-o", binary, "../cmd/presence").CombinedOutput()
	})
	binary string
)

func TestMain(m *testing.M) {
	scratch, err := os.MkdirTemp("", "presence-web-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(scratch, "presence")
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// installed reports whether npm ci has been run in a folder since its lock file
// changed.
func installed(dir string) bool {
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return false
	}
	done, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	return err == nil && !done.ModTime().Before(lock.ModTime())
}

// packages skips the test where a folder's packages are not installed. If Node
// is required it installs them, and fails the test where it cannot.
func packages(t *testing.T, dir string) {
	t.Helper()
	testenv.Require(t, "node", "node")
	testenv.Require(t, "node", "npm")
	installing.Lock()
	defer installing.Unlock()
	if !installed(dir) {
		if !testenv.Required("node") {
			t.Skipf("the packages of web/%s are not installed: run npm ci there, or set PRESENCE_TEST_REQUIRE=node", filepath.ToSlash(dir))
		}
		ci := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
		ci.Dir = dir
		if out, err := ci.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in web/%s: %v\n%s", dir, err, out)
		}
	}
	touchSources(t)
}

// server builds cmd/presence and returns its path.
func server(t *testing.T) string {
	t.Helper()
	if out, err := build(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	t.Logf("%s", out)
}

// node runs the test files of a pattern beside each other: mostly they wait. Some
// clients leave a timer of five minutes behind, which is not waited for.
func node(t *testing.T, pattern string, env ...string) {
	t.Helper()
	tests, err := filepath.Glob(pattern)
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests match %s: %v", pattern, err)
	}
	args := append([]string{"--test", "--test-force-exit", "--test-concurrency=" + strconv.Itoa(len(tests))}, tests...)
	run(t, ".", append(env, "PRESENCE_BIN="+server(t)), "node", args...)
}

// touchSources looks at all sources of the module, for go test takes a result
// from its cache unless a file has changed that the test itself has looked at.
func touchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"node_modules", ".git"}, entry.Name()):
			return fs.SkipDir
		case entry.Type().IsRegular():
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
