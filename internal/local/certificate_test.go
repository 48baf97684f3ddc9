package local_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"presence"
	"presence/internal/local"
	"presence/internal/testenv"
)

// Clients have to be told once what to trust, and nobody else can tell them.
func TestB17CertificateIsKept(t *testing.T) {
	folder := newCache(t)
	first := startOnce(t)
	if again := startOnce(t); again != first {
		t.Error("a restart has changed the certificate")
	}
	for name, want := range map[string]os.FileMode{
		"": 0o700 | os.ModeDir, "certificate.pem": 0o600, "key.pem": 0o600, "lock": 0o600,
	} {
		if info, err := os.Lstat(filepath.Join(folder, name)); err != nil || info.Mode() != want {
			t.Errorf("%q: %v, %v, want %v", name, info, err, want)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 3 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// Servers that start at the same time have the same certificate.
func TestB17CertificateIsMadeOnce(t *testing.T) {
	newCache(t)
	const servers = 8
	served := make(chan string, servers)
	for range servers {
		go func() { served <- startOnce(t) }()
	}
	first := <-served
	for range servers - 1 {
		if other := <-served; other != first {
			t.Error("two servers have two certificates")
		}
	}
}

// What cannot be trusted, or not for long, is replaced and never followed.
func TestB17CertificateIsReplaced(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, folder string, elsewhere string){
		"ends-soon": func(t *testing.T, folder, _ string) {
			write(t, folder, &x509.Certificate{NotAfter: time.Now().AddDate(0, 0, 29)})
		},
		"not-yet-valid": func(t *testing.T, folder, _ string) {
			write(t, folder, &x509.Certificate{NotBefore: time.Now().AddDate(0, 0, 1), NotAfter: time.Now().AddDate(1, 0, 0)})
		},
		"authority": func(t *testing.T, folder, _ string) {
			write(t, folder, &x509.Certificate{NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true})
		},
		"garbage": func(t *testing.T, folder, _ string) {
			check(t, os.WriteFile(filepath.Join(folder, "certificate.pem"), []byte("nonsense"), 0o600))
		},
		"key-of-another": func(t *testing.T, folder, _ string) {
			kept, err := os.ReadFile(filepath.Join(folder, "certificate.pem"))
			check(t, err)
			write(t, folder, &x509.Certificate{NotAfter: time.Now().AddDate(1, 0, 0)})
			check(t, os.WriteFile(filepath.Join(folder, "certificate.pem"), kept, 0o600))
		},
		"key-others-read": func(t *testing.T, folder, _ string) { check(t, os.Chmod(filepath.Join(folder, "key.pem"), 0o644)) },
		"certificate-others-write": func(t *testing.T, folder, _ string) {
			check(t, os.Chmod(filepath.Join(folder, "certificate.pem"), 0o666))
		},
		"certificate-is-a-link": func(t *testing.T, folder, elsewhere string) { link(t, folder, "certificate.pem", elsewhere) },
		"key-is-a-link":         func(t *testing.T, folder, elsewhere string) { link(t, folder, "key.pem", elsewhere) },
	} {
		t.Run(name, func(t *testing.T) {
			folder := newCache(t)
			startOnce(t)
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			plant(t, folder, elsewhere)
			before, err := os.ReadFile(filepath.Join(folder, "certificate.pem"))
			check(t, err)
			linked, _ := os.ReadFile(elsewhere) // Most cases have none.
			after := startOnce(t)
			if after == string(before) {
				t.Error("it is still there")
			}
			if now, _ := os.ReadFile(elsewhere); string(now) != string(linked) {
				t.Error("the file that was linked to has changed")
			}
			if again := startOnce(t); again != after {
				t.Error("it is replaced again and again")
			}
		})
	}
}

// A folder that others may have prepared is refused with a sentence.
func TestB17FolderIsPrivate(t *testing.T) {
	for name, tt := range map[string]struct {
		plant func(t *testing.T, folder string)
		says  string
	}{
		"others-write": {func(t *testing.T, folder string) {
			check(t, os.Mkdir(folder, 0o700))
			check(t, os.Chmod(folder, 0o777))
		}, "other users can write there"},
		"group-writes": {func(t *testing.T, folder string) {
			check(t, os.Mkdir(folder, 0o700))
			check(t, os.Chmod(folder, 0o770))
		}, "other users can write there"},
		"a-link": {func(t *testing.T, folder string) { check(t, os.Symlink(t.TempDir(), folder)) }, "it is not a folder"},
		"a-file": {func(t *testing.T, folder string) { check(t, os.WriteFile(folder, nil, 0o600)) }, "it is not a folder"},
		"of-another-user": {func(t *testing.T, folder string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a folder away")
			}
			check(t, os.Mkdir(folder, 0o700))
			check(t, os.Chown(folder, 54321, -1))
		}, "belongs to another user"},
		"lock-is-a-link": {func(t *testing.T, folder string) {
			check(t, os.Mkdir(folder, 0o700))
			check(t, os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(folder, "lock")))
		}, "cannot be kept in"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := newCache(t)
			check(t, os.MkdirAll(filepath.Dir(folder), 0o700))
			tt.plant(t, folder)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := local.Run(ctx, options(), func(local.Running) { cancel() })
			if err == nil || presence.AsError(err).Code != presence.InvalidArgument || !strings.Contains(err.Error(), folder) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want that it says %q", err, tt.says)
			}
		})
	}
	t.Run("no-home", func(t *testing.T) {
		t.Setenv("XDG_CACHE_HOME", "")
		t.Setenv("HOME", "")
		err := local.Run(t.Context(), options(), func(local.Running) {})
		if err == nil || !strings.Contains(err.Error(), "set HOME or XDG_CACHE_HOME") {
			t.Errorf("got %v", err)
		}
	})
}

// Clients that trust the certificate trust it for this machine's own names, and
// nothing that is signed with its key.
func TestB17CertificateIsNoAuthority(t *testing.T) {
	folder := newCache(t)
	running, stop := run(t, options())
	defer stop()
	trusted, err := os.ReadFile(running.Certificate)
	check(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trusted) {
		t.Fatal("there is no certificate")
	}
	own, err := tls.LoadX509KeyPair(running.Certificate, filepath.Join(folder, "key.pem"))
	check(t, err)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := own.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged := forge(t, own)
	if _, err := forged.Leaf.Verify(x509.VerifyOptions{DNSName: "evil.example", Roots: pool}); err == nil {
		t.Error("Go trusts a certificate of evil.example")
	}

	node := testenv.Require(t, "node", "node")
	dial := func(addr, name string) string {
		cmd := exec.CommandContext(t.Context(), node, "-e", `
			const [host, port, servername] = process.argv.slice(1);
			const s = require('tls').connect({ host, port, servername }, () => { console.log('trusted'); s.destroy(); });
			s.on('error', (e) => console.log(e.code));`, "127.0.0.1", addr[strings.LastIndexByte(addr, ':')+1:], name)
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+running.Certificate)
		out, err := cmd.CombinedOutput()
		check(t, err)
		return strings.TrimSpace(string(out))
	}
	if got := dial(running.Base, "localhost"); got != "trusted" {
		t.Errorf("Node on localhost: %s", got)
	}
	if got := dial(running.Base, "evil.example"); got != "ERR_TLS_CERT_ALTNAME_INVALID" {
		t.Errorf("Node on another name: %s", got)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{forged}, MinVersion: tls.VersionTLS12})
	check(t, err)
	evil := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = evil.Serve(l) }() // It ends when it is closed.
	defer func() { check(t, evil.Close()); <-ended }()
	if got := dial(l.Addr().String(), "evil.example"); got == "trusted" {
		t.Error("Node trusts a certificate of evil.example")
	}
}

// newCache gives the test a cache folder of its own, and returns where the
// server keeps its certificate.
func newCache(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(t.TempDir(), "cache"))
	cache, err := os.UserCacheDir()
	check(t, err)
	return filepath.Join(cache, "presence-api")
}

// startOnce starts a server, stops it, and returns what its clients have to
// trust, which is what it serves with.
func startOnce(t *testing.T) string {
	running, stop := run(t, options())
	defer stop()
	trusted, err := os.ReadFile(running.Certificate)
	if err != nil {
		t.Error(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	addr := strings.TrimPrefix(running.Base, "http://")
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Error(err)
		return ""
	}
	conn.Close()
	return string(trusted)
}

// write writes a certificate for this machine to the folder, and its key.
func write(t *testing.T, folder string, template *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template.SerialNumber, template.IPAddresses = big.NewInt(1), []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(folder, "certificate.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(filepath.Join(folder, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// forge makes a certificate of evil.example, signed with the key of by.
func forge(t *testing.T, by tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"evil.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Leaf, &key.PublicKey, by.PrivateKey)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der, by.Certificate[0]}, PrivateKey: key, Leaf: leaf}
}

// link moves a file elsewhere, and leaves a link to it.
func link(t *testing.T, folder, name, elsewhere string) {
	t.Helper()
	check(t, os.Rename(filepath.Join(folder, name), elsewhere))
	check(t, os.Symlink(elsewhere, filepath.Join(folder, name)))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
