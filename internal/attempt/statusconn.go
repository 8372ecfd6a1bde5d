package attempt

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"sync"
)

const (
	// statusLineBytes is how much of a status line is kept: "HTTP/1.1 200" and a space.
	statusLineBytes = 13
	// headBytes bounds the headers of an answer over HTTP/1. Of a longer one the status
	// line counts. earlyBytes bounds those of each 1xx answer before it.
	headBytes  = 64 << 10
	earlyBytes = 128 << 10
)

// statusConn is an HTTP/1 connection that remembers the status line of the answer, for
// answers whose headers net/http refuses: the receiver has answered all the same.
type statusConn struct {
	net.Conn

	mu      sync.Mutex
	line    []byte // the beginning of the line
	length  int    // of the line
	head    int    // bytes of this answer's status line and headers
	headers bool   // the line belongs to the headers of a 1xx answer
	code    int
	ended   bool // so have the headers of the final answer
}

// errLongHead is the error of a connection with an answer whose headers are over their limit.
var errLongHead = errors.New("the headers of the answer are too long")

// begin forgets the answer before.
func (c *statusConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line, c.length, c.head, c.headers, c.code, c.ended = c.line[:0], 0, 0, false, 0, false
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
	for rest := p[:n]; !c.ended && len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		c.head += len(rest) - len(after)
		c.take(bytes.TrimSuffix(part, []byte("\r")))
		if ended {
			c.end()
		}
		rest = after
	}
	if err == nil && (c.head > earlyBytes || c.head > headBytes && c.code > 0) {
		return 0, errLongHead
	}
	return n, err
}

func (c *statusConn) take(part []byte) {
	c.length += len(part)
	c.line = append(c.line, part[:min(len(part), statusLineBytes-len(c.line))]...)
}

// end looks at a complete line. A 1xx answer is followed by another one.
func (c *statusConn) end() {
	if c.code > 0 {
		c.ended = c.length == 0
	} else if c.headers {
		c.headers = c.length > 0
	} else if code := statusCode(c.line); code >= 200 {
		c.code = code
	} else {
		c.headers = code >= 100
	}
	c.line, c.length = c.line[:0], 0
	if c.ended || c.code == 0 && !c.headers {
		c.head = 0
	}
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
