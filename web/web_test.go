package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"presence/web"
)

func get(t *testing.T, target string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	r.Header = header
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, r)
	return w.Result()
}

var loaded = regexp.MustCompile(`(?:src|href)="(/[^"]+\.\w+)"`)

// Each page comes with everything it names, under a policy that names no host.
func TestPages(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"console": "/", "live-page": "/demo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := get(t, target, nil)
			if page.StatusCode != http.StatusOK || page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("got %d %s", page.StatusCode, page.Header.Get("Content-Type"))
			}
			if cc := page.Header.Get("Cache-Control"); cc != "no-cache" {
				t.Errorf("got Cache-Control %q, want no-cache", cc)
			}
			if p := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none';") || strings.Contains(p, "//") || strings.Contains(p, "*") {
				t.Errorf("policy %q lets others in", p)
			}
			var body strings.Builder
			if err := page.Write(&body); err != nil {
				t.Fatal(err)
			}
			files := loaded.FindAllStringSubmatch(body.String(), -1)
			if len(files) < 2 {
				t.Fatalf("the page loads %d files", len(files))
			}
			for _, file := range files {
				res := get(t, file[1], nil)
				if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") == "" {
					t.Errorf("%s: got %d %q", file[1], res.StatusCode, res.Header.Get("Content-Type"))
				}
				if cc := res.Header.Get("Cache-Control"); strings.HasPrefix(file[1], "/assets/") != strings.Contains(cc, "immutable") {
					t.Errorf("%s: got Cache-Control %q", file[1], cc)
				}
			}
		})
	}
}

func TestRevalidation(t *testing.T) {
	t.Parallel()
	etag := get(t, "/demo", nil).Header.Get("ETag")
	res := get(t, "/demo", http.Header{"If-None-Match": {etag}})
	if res.StatusCode != http.StatusNotModified {
		t.Errorf("got %d, want 304", res.StatusCode)
	}
}

func TestNothingElse(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/index.html", "/demo.html", "/dist/", "/assets/", "/package.json", "/web.go"} {
		if res := get(t, target, nil); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", target, res.StatusCode)
		}
	}
}
