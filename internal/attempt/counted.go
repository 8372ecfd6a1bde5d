package attempt

import (
	"net"
	"sync"
	"sync/atomic"
)

// conns counts the open connections of a poster. They need file descriptors,
// which attempts in flight must find: idle connections give way to them.
type conns struct {
	open      atomic.Int64
	most      int64 // 0: no bound
	closeIdle func()
}

// room closes the idle connections if another one would be too many.
func (c *conns) room() {
	if c.most > 0 && c.open.Load() >= c.most {
		c.closeIdle()
	}
}

// count counts the connection until it is closed.
func (c *conns) count(conn net.Conn) net.Conn {
	c.open.Add(1)
	return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { c.open.Add(-1) })}
}

// countedConn is a connection that is counted.
type countedConn struct {
	net.Conn

	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
