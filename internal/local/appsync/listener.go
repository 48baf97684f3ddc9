package appsync

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// SelfSigned makes a certificate for localhost, 127.0.0.1 and ::1, valid for a
// year, and the PEM clients need to trust it.
func SelfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("appsync: certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("appsync: certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "localhost", Organization: []string{"presence local server"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// It is no authority: who trusts it trusts it for these names alone, even
		// when its key is stolen.
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("appsync: certificate: %w", err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// NewListener makes every connection of inner speak TLS or plain text,
// whichever its client begins with. Amplify v6 needs that: it rewrites an
// http:// endpoint to wss:// on the same port.
//
// The choice is made at a connection's first Read, so Accept never waits for a
// client, and the deadlines of an [http.Server] bound the choice and the TLS
// handshake as they do the request.
func NewListener(inner net.Listener, cert tls.Certificate) net.Listener {
	return &listener{inner, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// WebSockets upgrade from HTTP/1.1.
		NextProtos: []string{"http/1.1"},
	}}
}

// NewHTTPServer returns an [http.Server] for a [Server] and what is served
// beside it, with the timeouts that keep slow clients from holding
// connections. They end with the handshake of a WebSocket.
func NewHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		// A resolver's 30 s and some to send the answer.
		WriteTimeout:   50 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
}

type listener struct {
	net.Listener
	config *tls.Config
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &eitherConn{Conn: inner, config: l.config}, nil
}

// recordTypeHandshake is the first byte of a TLS connection, and of no HTTP
// request.
const recordTypeHandshake = 0x16

// eitherConn is a connection that may turn out to be TLS. Addresses and
// deadlines are those of the TCP connection either way.
type eitherConn struct {
	net.Conn
	config *tls.Config

	once  sync.Once
	first error
	// stream is what is read and written: the connection with its first byte put
	// back, or TLS over that.
	mu     sync.Mutex
	stream net.Conn
}

func (c *eitherConn) choose() {
	var first [1]byte
	if _, c.first = io.ReadFull(c.Conn, first[:]); c.first != nil {
		return
	}
	plain := &rewound{c.Conn, io.MultiReader(bytes.NewReader(first[:]), c.Conn)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = plain
	if first[0] == recordTypeHandshake {
		c.stream = tls.Server(plain, c.config)
	}
}

func (c *eitherConn) chosen() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream
}

func (c *eitherConn) Read(b []byte) (int, error) {
	c.once.Do(c.choose)
	if c.first != nil {
		return 0, c.first
	}
	return c.chosen().Read(b)
}

func (c *eitherConn) Write(b []byte) (int, error) {
	if stream := c.chosen(); stream != nil {
		return stream.Write(b)
	}
	return c.Conn.Write(b)
}

func (c *eitherConn) Close() error {
	if stream := c.chosen(); stream != nil {
		return stream.Close()
	}
	return c.Conn.Close()
}

// rewound is a connection some of which was read already.
type rewound struct {
	net.Conn
	r io.Reader
}

func (c *rewound) Read(b []byte) (int, error) { return c.r.Read(b) }
