package app

import (
	"errors"
	"net"
	"os"
	"time"
)

// stallTimeout is how long a client may take nothing of an answer. Else one that does not read would hold the answer's
// memory for ever.
const stallTimeout = 30 * time.Second

// whileTaken wraps a listener of HTTP connections. A write to one of them fails when the client has taken nothing for
// the time, and may take as long as it wants while it takes anything.
func whileTaken(l net.Listener, stall time.Duration) net.Listener {
	return &takenListener{Listener: l, stall: stall}
}

type takenListener struct {
	net.Listener
	stall time.Duration
}

// Accept returns the next connection.
func (l *takenListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &takenConn{Conn: c, stall: l.stall}, nil
}

type takenConn struct {
	net.Conn
	stall time.Duration
}

// Write writes b as fast as the client takes it.
func (c *takenConn) Write(b []byte) (n int, err error) {
	for wait := c.stall; ; {
		if err := c.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return n, err
		}
		wrote, err := c.Conn.Write(b[n:])
		n += wrote
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case wrote > 0:
			wait = c.stall
		case wait == c.stall:
			// Linux wakes a waiting write when a third of a large buffer is free; a fresh one finds any room at once.
			wait = c.stall / 30
		default:
			return n, err
		}
	}
}

// CloseWrite ends the sending half, which net/http does so that a client reads a response before the connection is gone.
func (c *takenConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
