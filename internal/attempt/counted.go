package attempt

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultHTTP2Conns is the default of [Config.HTTP2Conns].
	defaultHTTP2Conns = 256
	// restBytes and restTimeout bound what is read of a connection that the server has
	// closed.
	restBytes   = 1 << 10
	restTimeout = 100 * time.Millisecond
)

// conns counts the open connections of a poster. They need file descriptors,
// which attempts in flight must find: idle connections give way to them.
type conns struct {
	open      atomic.Int64
	most      int64 // 0: no bound
	http2     atomic.Int64
	mostHTTP2 int64
	closeIdle func()
}

// room closes the idle connections if another one would be too many.
func (c *conns) room() {
	if c.most > 0 && c.open.Load() >= c.most {
		c.closeIdle()
	}
}

// enoughHTTP2 reports whether another connection should not speak HTTP/2. The count
// may be passed by the connections that are opened at the same time.
func (c *conns) enoughHTTP2() bool { return c.http2.Load() >= c.mostHTTP2 }

// count counts the connection until it is closed.
func (c *conns) count(conn net.Conn) *countedConn {
	c.open.Add(1)
	return &countedConn{Conn: conn, conns: c}
}

// countedConn is a connection that is counted.
type countedConn struct {
	net.Conn

	conns   *conns
	secured *tls.Conn // over this one; nil: none

	reading sync.Mutex
	rest    []byte      // what came before a broken connection was closed
	broken  atomic.Bool // a write has failed

	mu     sync.Mutex
	http2  bool
	closed bool
}

// writeError is the error of a write, with its connection.
type writeError struct {
	error

	conn *countedConn
}

func (e *writeError) Unwrap() error { return e.error }

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.broken.Store(true)
		err = &writeError{error: err, conn: c}
	}
	return n, err
}

func (c *countedConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if n := copy(p, c.rest); n > 0 {
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// multiplexed counts the connection as one that speaks HTTP/2.
func (c *countedConn) multiplexed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.http2 = true
		c.conns.http2.Add(1)
	}
}

// Close keeps what a server has sent that closed the connection first, such as a TLS
// alert: net/http closes a connection of HTTP/2 unread if it can't write.
func (c *countedConn) Close() error {
	if c.broken.Load() {
		_ = c.SetReadDeadline(time.Now().Add(restTimeout)) // a read that is going on ends
		c.reading.Lock()
		if c.rest == nil {
			c.rest = make([]byte, restBytes)
			n, _ := c.Conn.Read(c.rest)
			c.rest = c.rest[:n]
		}
		c.reading.Unlock()
	}
	c.uncount()
	return c.Conn.Close()
}

func (c *countedConn) uncount() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.conns.open.Add(-1)
	if c.http2 {
		c.conns.http2.Add(-1)
	}
}
