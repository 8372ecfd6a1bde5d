package attempt

import (
	"bytes"
	"net"
	"strconv"
	"sync"
)

// statusLineBytes is how much of a status line is kept: "HTTP/1.1 200" and a space.
const statusLineBytes = 13

// statusConn is an HTTP/1 connection that remembers the status line of the answer, for
// answers whose headers net/http refuses: the receiver has answered all the same.
type statusConn struct {
	net.Conn

	mu      sync.Mutex
	line    []byte // the beginning of the line
	length  int    // of the line
	headers bool   // the line belongs to the headers of a 1xx answer
	code    int
}

// begin forgets the answer before.
func (c *statusConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line, c.length, c.headers, c.code = c.line[:0], 0, false, 0
}

// status is the code of a complete status line since begin, or 0.
func (c *statusConn) status() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// Read implements [net.Conn].
func (c *statusConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest := p[:n]; c.code == 0 && len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		c.take(bytes.TrimSuffix(part, []byte("\r")))
		if ended {
			c.end()
		}
		rest = after
	}
	return n, err
}

func (c *statusConn) take(part []byte) {
	c.length += len(part)
	c.line = append(c.line, part[:min(len(part), statusLineBytes-len(c.line))]...)
}

// end looks at a complete line. A 1xx answer is followed by another one.
func (c *statusConn) end() {
	if c.headers {
		c.headers = c.length > 0
	} else if code := statusCode(c.line); code >= 200 {
		c.code = code
	} else {
		c.headers = code >= 100
	}
	c.line, c.length = c.line[:0], 0
}

// statusCode reads the beginning of a status line; 0 if it is none.
func statusCode(line []byte) int {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1."))
	if !ok || len(rest) < 5 || rest[1] != ' ' || len(rest) > 5 && rest[5] != ' ' {
		return 0
	}
	code, err := strconv.ParseUint(string(rest[2:5]), 10, 16)
	if err != nil || code < 100 {
		return 0
	}
	return int(code)
}
