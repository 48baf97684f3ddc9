package appsync_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"presence"
	"presence/internal/local/appsync"
	"presence/resolvers"
)

// One port serves what each client begins with: http, https, ws and wss.
func TestListener(t *testing.T) {
	t.Parallel()
	s, err := appsync.New(appsync.Options{Schema: presence.Schema, Code: resolvers.JS, Invoker: invoker(fakePresence), Authorize: authorize, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, pem, err := appsync.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	hs := appsync.NewHTTPServer(s)
	done := make(chan error)
	go func() { done <- hs.Serve(appsync.NewListener(inner, cert)) }()
	t.Cleanup(func() {
		if err := hs.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the PEM holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)

	// A client that says nothing holds nobody up.
	silent, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			endpoint := scheme + "://" + inner.Addr().String()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint+appsync.Path, strings.NewReader(`{"query":"{__typename}"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "bob")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != `{"data":{"__typename":"Query"}}` {
				t.Errorf("%s, %v", text, err)
			}
			ws, _, err := websocket.Dial(t.Context(), endpoint+appsync.RealtimePath, &websocket.DialOptions{
				HTTPClient:   client,
				HTTPHeader:   http.Header{"Authorization": {"bob"}},
				Subprotocols: []string{"graphql-ws"},
			})
			if err != nil {
				t.Fatal(err)
			}
			send(t, ws, `{"type":"connection_init"}`)
			expect(t, ws, `"connection_ack"`)
			if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
