// Package web serves what a person opens in a browser: the GraphiQL console
// and the live page. Their sources are in app, the client library they use in
// client; dist is what Vite makes of them, embedded, so that building the
// server needs no Node.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed dist
var dist embed.FS

// The policy lets a page load from its own server and nowhere else. Monaco, the
// console's editor, writes style elements and has fonts in its styles; the
// client library keeps its timers in a worker made from a blob.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"font-src 'self' data:; img-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// The types are fixed, for [mime.TypeByExtension] depends on the machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".ttf":  "font/ttf",
}

type file struct {
	name, contentType, cacheControl, etag string
	content                               []byte
}

// Handler returns a handler of GET and HEAD for the console at /, the live page
// at /demo and what they load. Anything else is not found.
func Handler() http.Handler {
	mux := http.NewServeMux()
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		f := file{
			name:        name,
			contentType: contentTypes[path.Ext(name)],
			// Revalidated, but not no-store: that keeps a page out of the
			// back-forward cache.
			cacheControl: "no-cache",
			etag:         fmt.Sprintf(`"%x"`, sha256.Sum256(content)),
			content:      content,
		}
		route := strings.TrimPrefix(name, "dist")
		switch {
		case route == "/index.html":
			route = "/{$}"
		case path.Ext(route) == ".html":
			route = strings.TrimSuffix(route, ".html")
		case strings.HasPrefix(route, "/assets/"):
			// Their names hold a hash of their content.
			f.cacheControl = "public, max-age=31536000, immutable"
		}
		mux.Handle("GET "+route, f)
		return nil
	})
	if err != nil {
		panic(err) // The files are part of the binary.
	}
	return mux
}

// ServeHTTP implements [http.Handler].
func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", f.cacheControl)
	h.Set("ETag", f.etag)
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
