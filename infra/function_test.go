package infra_test

import (
	"archive/zip"
	"context"
	"debug/elf"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"presence/infra"
	"presence/internal/local/eventbridge"
	"presence/internal/local/lambda"
	"presence/internal/testenv"
)

// unpacked returns the only file of a deployment package, unpacked as Lambda
// unpacks it.
func unpacked(t *testing.T, path string) string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if len(archive.File) != 1 || archive.File[0].Name != "bootstrap" {
		t.Fatalf("the package holds %d files, the first is %s", len(archive.File), archive.File[0].Name)
	}
	equal(t, "mode", archive.File[0].Mode(), os.FileMode(0o755))
	content, err := archive.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	b, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(bootstrap, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return bootstrap
}

// The package in the assembly, with the environment of the template, answers
// what AppSync and EventBridge send. It is for arm64: elsewhere qemu runs it.
func TestDeployedFunction(t *testing.T) {
	t.Parallel()
	a := synthesized(t, "default")
	packages, err := filepath.Glob(filepath.Join(a.dir, "asset.*.zip"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages: %v %v", packages, err)
	}
	bootstrap := unpacked(t, packages[0])
	if runtime.GOARCH != "arm64" {
		wrapper := bootstrap + ".sh"
		script := "#!/bin/sh\nexec " + testenv.Require(t, "qemu", "qemu-aarch64") + " " + bootstrap + "\n"
		if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		bootstrap = wrapper
	}

	var published atomic.Int32
	bus, err := eventbridge.New(eventbridge.Options{Rules: []eventbridge.Rule{{
		Name: "all", Bus: "presence", Pattern: `{"source":["api.presence"]}`,
		Target: func(context.Context, []byte) error { published.Add(1); return nil },
	}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(bus)
	t.Cleanup(func() {
		server.Close()
		bus.Close(context.Background())
	})
	redisURL, _ := testenv.Embedded(t)
	environment := a.template.environment(t)
	environment["PRESENCE_REDIS_URL"] = redisURL
	environment["PRESENCE_EVENT_BUS"] = "presence"
	environment["AWS_ENDPOINT_URL_EVENTBRIDGE"] = server.URL
	environment["PRESENCE_SWEEP_FOR"] = "0s"
	// A cluster and IAM are what no laptop has.
	delete(environment, "PRESENCE_REDIS_CLUSTER")
	for name := range environment {
		if strings.HasPrefix(name, "PRESENCE_REDIS_IAM_") {
			delete(environment, name)
		}
	}
	var log strings.Builder
	deployed := &lambda.Function{
		Bootstrap: bootstrap, Output: &log,
		Env: []string{"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example"},
	}
	for name, value := range environment {
		deployed.Env = append(deployed.Env, name+"="+value)
	}
	t.Cleanup(deployed.Close)

	// The other events are answered with data.
	refused := map[string]string{"connect-api-key": "Unauthorized", "connected-by-user": "Unauthorized", "connect-bad-url": "InvalidArgument"}
	events, err := filepath.Glob("../testdata/events/*.json")
	if err != nil || len(events) <= len(refused) {
		t.Fatalf("events: %v %v", events, err)
	}
	for _, path := range events {
		payload, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		event := strings.TrimSuffix(filepath.Base(path), ".json")
		reply, err := deployed.Invoke(t.Context(), payload)
		if err != nil {
			t.Errorf("%s: %v", event, err)
			continue
		}
		want := `{"data":`
		switch {
		case event == "sweep":
			want = "null"
		case refused[event] != "":
			want = `{"error":{"type":"` + refused[event] + `"`
		}
		if !strings.HasPrefix(string(reply), want) {
			t.Errorf("%s: got %s, want %s…", event, reply, want)
		}
	}
	if published.Load() == 0 {
		t.Error("nothing was published")
	}
	if t.Failed() {
		t.Log(log.String())
	}
}

// Equal sources give equal bytes, so a deployment that changes nothing uploads
// nothing.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first, err := function()
	if err != nil {
		t.Fatal(err)
	}
	second, err := infra.BuildFunction(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var packages [2][]byte
	for i, path := range []string{first, second} {
		if packages[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !cmp.Equal(packages[0], packages[1]) {
		t.Error("two builds differ")
	}
	binary, err := elf.Open(unpacked(t, first))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	equal(t, "machine", binary.Machine, elf.EM_AARCH64)
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %v (%v)", libraries, err)
	}
	if binary.Section(".debug_info") != nil {
		t.Error("it carries debug information")
	}
}
