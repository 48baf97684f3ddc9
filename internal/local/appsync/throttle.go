package appsync

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// What a client may send over its socket, frames and their headers alike. The
// limits are ours. A client that sends faster is read more slowly: a flood of
// empty fragments, which no frame counter sees, costs it its own time.
const (
	readBurst  = 4 << 20 // bytes
	readPerSec = 1 << 20
)

// throttledWriter is a [http.ResponseWriter] whose hijacked connection is
// throttled.
type throttledWriter struct{ http.ResponseWriter }

// Hijack implements [http.Hijacker].
func (w throttledWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	inner, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &throttledConn{Conn: inner, left: readBurst, at: time.Now(), closed: make(chan struct{})}, rw, nil
}

// throttledConn is a connection that is read at a limited pace, by one
// goroutine.
type throttledConn struct {
	net.Conn
	// left is how many bytes may be read at once, as of at.
	left int
	at   time.Time

	closing sync.Once
	closed  chan struct{}
}

// Read implements [net.Conn].
func (c *throttledConn) Read(b []byte) (int, error) {
	now := time.Now()
	c.left = min(readBurst, c.left+int(min(now.Sub(c.at).Seconds(), readBurst/readPerSec)*readPerSec))
	c.at = now
	if c.left <= 0 {
		wait := time.NewTimer(time.Second / 4)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	n, err := c.Conn.Read(b)
	c.left -= n
	return n, err
}

// Close implements [net.Conn].
func (c *throttledConn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
