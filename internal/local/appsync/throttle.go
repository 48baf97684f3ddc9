package appsync

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// What a caller may send over its sockets together, frames and their headers
// alike, in bytes at once and in a second. The limits are ours. A caller that
// sends faster is read more slowly: a flood of empty fragments, which no counter
// of messages sees, costs it its own time.
const (
	readBurst  = 2 << 20
	readPerSec = 512 << 10
)

// bucket is what a caller may still send. It is safe for concurrent use.
type bucket struct {
	mu   sync.Mutex
	left float64
	at   time.Time
}

func newBucket() *bucket { return &bucket{left: readBurst, at: time.Now()} }

// take takes bytes, and returns how long to wait before there are some again.
func (b *bucket) take(bytes int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.left = min(readBurst, b.left+now.Sub(b.at).Seconds()*readPerSec) - float64(bytes)
	b.at = now
	if b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / readPerSec * float64(time.Second))
}

// throttledWriter is a [http.ResponseWriter] whose hijacked connection is read
// at a caller's pace.
type throttledWriter struct {
	http.ResponseWriter
	pace *bucket
}

// Hijack implements [http.Hijacker].
func (w throttledWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	inner, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &throttledConn{Conn: inner, pace: w.pace, closed: make(chan struct{})}, rw, nil
}

// throttledConn is a connection that is read at a limited pace.
type throttledConn struct {
	net.Conn
	pace    *bucket
	closing sync.Once
	closed  chan struct{}
}

// Read implements [net.Conn].
func (c *throttledConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if delay := c.pace.take(n); delay > 0 {
		wait := time.NewTimer(delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

// Close implements [net.Conn].
func (c *throttledConn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
