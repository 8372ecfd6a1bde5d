package ingest

import (
	"io"
	"net"
	"sync"
	"time"
)

// commandBytes is what a client may send before an answer while no mail is
// being transferred: a command line and a pipeline's look-ahead, with room.
const commandBytes = 128 << 10

// gate enforces the limits of the listener: it refuses connections over the limit
// and tracks the open ones.
type gate struct {
	net.Listener
	max     int
	refused func()

	mu       sync.Mutex
	open     map[*conn]struct{}
	draining bool
}

// Accept returns the next connection within the limit. The others get 421.
func (g *gate) Accept() (net.Conn, error) {
	for {
		nc, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, gate: g, budget: commandBytes}
		if g.admit(c) {
			return c, nil
		}
		g.refused()
		// The reply fits into the empty send buffer, so the write does not block.
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(nc, "421 4.3.2 Too many connections, try again later\r\n")
		_ = nc.Close()
	}
}

func (g *gate) admit(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open) >= g.max || g.draining {
		return false
	}
	g.open[c] = struct{}{}
	return true
}

// drain closes the connections without a mail transaction at once, and the others
// when their transaction ends.
func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	for c := range g.open {
		c.drain()
	}
}

// cut closes all connections.
func (g *gate) cut() {
	g.mu.Lock()
	open := make([]*conn, 0, len(g.open))
	for c := range g.open {
		open = append(open, c)
	}
	g.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// conn bounds what a client may send and when. It is below TLS, so it sees every
// byte of the connection.
type conn struct {
	net.Conn
	gate *gate
	once sync.Once

	mu       sync.Mutex
	budget   int64 // bytes that may still be read before an answer
	transfer bool  // a mail is being read: the reader of the mail does the counting
	broken   bool  // a transfer broke off: the connection ends with the next answer
	busy     bool  // a mail transaction is open
	draining bool
}

var longAgo = time.Unix(1, 0)

// Read ends the connection once the budget is used up.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	spent := !c.transfer && c.budget <= 0
	c.mu.Unlock()
	if spent {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.budget -= int64(n)
	c.mu.Unlock()
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.transfer && c.budget > 0 {
		c.budget = commandBytes
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && !c.busy {
		t = longAgo
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.gate.mu.Lock()
		delete(c.gate.open, c)
		c.gate.mu.Unlock()
	})
	return c.Conn.Close()
}

func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		_ = c.Conn.SetReadDeadline(longAgo)
	}
}

// begin opens a mail transaction; false if the connection must end.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.broken {
		return false
	}
	c.busy = true
	return true
}

// end closes the mail transaction. If a transfer is still open, the client gave up
// between two chunks. Its reader may outlive the transaction for a moment, so no
// other transaction may begin on this connection.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if c.transfer {
		c.transfer, c.broken, c.budget = false, true, 0
	}
	if c.draining {
		_ = c.Conn.SetReadDeadline(longAgo)
	}
}

// startTransfer lifts the budget.
func (c *conn) startTransfer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transfer = true
}

// endTransfer lets the client of a mail that was refused before its end send rest
// more bytes before the reply. At 0 the connection ends after the reply: bytes that
// follow a broken transfer must not be read as commands.
func (c *conn) endTransfer(rest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.broken {
		c.transfer, c.broken, c.budget = false, rest == 0, rest
	}
}
