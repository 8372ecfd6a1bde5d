package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	// commandBytes is what a client may send before an answer while no mail is being transferred: a command
	// line and the rest of a refused chunk, with room.
	commandBytes = 128 << 10
	// libraryBuffer is the most that go-smtp's buffered reader asks for. It asks for more only to read a chunk
	// of BDAT, and then for no byte behind the chunk.
	libraryBuffer = 4 << 10
)

// conn is a client's connection as go-smtp sees it. It is above TLS, so it sees commands and replies. It hands
// over one command line at a time. Thus go-smtp never holds bytes of a mail: the session reads them from conn.
// Replies are counted, and the limits of the connection are enforced.
type conn struct {
	net.Conn // the socket; deadlines are set on it also where TLS is on top
	o        connOptions
	client   *client
	pace     pace

	// Used by go-smtp's goroutine alone.
	stream   io.ReadWriteCloser // the socket, or TLS
	r        *bufio.Reader
	out      replies
	inject   string // read by go-smtp before anything else
	partial  bool   // a reply was written in part
	within   bool   // the last byte read did not end a line
	naming   bool   // a transaction names its recipients: no mail has begun
	greeted  bool
	muted    bool // replies are dropped: STARTTLS was answered
	secure   bool
	dataMode atomic.Bool // 354 was answered: what comes is a mail
	errors   int
	// Replies since the last accepted mail: 2xx and 3xx, and 4xx.
	commands, temporary int
	charged             int // commands that count against the client

	mu        sync.Mutex
	budget    int64 // bytes that may still be read before an answer
	phase     phase
	broken    bool // a transfer broke off: the connection ends with the next answer
	busy      bool // a mail transaction is open
	draining  bool
	farewell  *smtp.SMTPError // the last reply: the connection ends before the next command
	until     time.Time       // no read deadline is later, unless zero
	since     time.Time       // when it connected, or the last mail was accepted
	upgrading bool
	done      chan struct{} // closed with the connection, or if it is to end
	doneOnce  sync.Once
}

type phase int

const (
	commandPhase phase = iota
	transferPhase
	commitPhase
)

// connOptions are the same for all connections.
type connOptions struct {
	host        string // the server's own domain
	maxCommands int
	writing     time.Duration // the most that a write may take
	delay       time.Duration // of a reply to a client over a limit
	window      time.Duration // how long a client may be idle or slow under pressure
	refuse      func(reason)
	delayed     func()
	closed      func(*conn)
	upgrade     func(*conn) // continues the connection in TLS
}

func newConn(nc net.Conn, cl *client, o connOptions) *conn {
	c := &conn{Conn: nc, o: o, client: cl, r: bufio.NewReader(nil), budget: commandBytes, since: time.Now(), done: make(chan struct{})}
	c.attach(nc)
	return c
}

// attach reads from the client and writes to it through stream: the socket, or TLS above it.
func (c *conn) attach(stream io.ReadWriteCloser) {
	c.stream = stream
	c.out = replies{to: stream, late: func() {
		if c.o.writing > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(c.o.writing))
		}
	}}
	c.r.Reset(flushing{stream, &c.out})
}

var longAgo = time.Unix(1, 0)

// Read returns at most one line, unless go-smtp reads a chunk. It ends the connection once the budget is used
// up, or with the farewell.
func (c *conn) Read(p []byte) (int, error) {
	if c.inject != "" {
		n := copy(p, c.inject)
		c.inject = c.inject[n:]
		return n, nil
	}
	if c.over() {
		return 0, net.ErrClosed
	}
	n, err := c.read(p)
	c.count(n)
	if err != nil && (errors.Is(err, io.EOF) || c.over()) {
		// go-smtp takes io.EOF inside a chunk for the end of the mail.
		return n, net.ErrClosed
	}
	return n, err
}

func (c *conn) read(p []byte) (int, error) {
	if len(p) > libraryBuffer {
		return c.r.Read(p)
	}
	if _, err := c.r.Peek(1); err != nil {
		return 0, err
	}
	line, _ := c.r.Peek(c.r.Buffered()) // what is buffered can be read
	if lf := bytes.IndexByte(line, '\n'); lf >= 0 {
		line = line[:lf+1]
	}
	if bare := c.bare(line); bare > 0 {
		c.within = true
		if _, err := c.r.Discard(bare); err != nil {
			return 0, err
		}
		full := "RCPT TO:<postmaster@" + c.o.host + ">"
		n := copy(p, full)
		c.inject = full[n:]
		return n, nil
	}
	n := copy(p, line)
	c.within = n > 0 && p[n-1] != '\n'
	return c.r.Discard(n)
}

// bareRecipient is the one recipient that has no domain (RFC 5321, 4.5.1). go-smtp refuses it.
const bareRecipient = "RCPT TO:<postmaster>"

// bare returns the length of that command at the beginning of a line, or 0. From a chunk of BDAT on, what looks like a
// command may be a mail.
func (c *conn) bare(line []byte) int {
	if c.within || !c.naming {
		return 0
	}
	if line[0] == 'b' || line[0] == 'B' {
		c.naming = false
	}
	if len(line) < len(bareRecipient) || !strings.EqualFold(string(line[:len(bareRecipient)]), bareRecipient) {
		return 0
	}
	return len(bareRecipient)
}

// count counts n bytes that were read.
func (c *conn) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget -= int64(n)
}

// arrived counts n bytes of a mail.
func (c *conn) arrived(n int) { c.pace.add(n, c.o.window, time.Now()) }

// over reports whether the connection must end, and writes the farewell if there is one.
func (c *conn) over() bool {
	c.mu.Lock()
	farewell := c.farewell
	c.farewell = nil
	over := c.muted || farewell != nil || c.phase != transferPhase && c.budget <= 0
	if over {
		c.budget, c.phase = 0, commandPhase
	}
	c.mu.Unlock()
	if farewell != nil {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.out.send([]byte(line(farewell)))
	}
	return over
}

// Write sends a reply. Where the client is over a limit the reply is delayed.
func (c *conn) Write(p []byte) (int, error) {
	if c.muted {
		return len(p), nil
	}
	c.mu.Lock()
	if c.phase != transferPhase && c.budget > 0 {
		c.budget = commandBytes
	}
	c.mu.Unlock()
	final := !c.partial && len(p) > 4 && p[3] == ' '
	c.partial = !bytes.HasSuffix(p, []byte("\n"))
	if !final {
		return c.out.hold(p)
	}
	if bytes.HasPrefix(p, []byte("220")) {
		return c.ready(p)
	}
	c.dataMode.Store(bytes.HasPrefix(p, []byte("354")))
	if !bytes.HasPrefix(p, []byte("221")) && c.judge(p[0]) {
		if err := c.out.flush(); err != nil {
			return 0, err
		}
		c.o.delayed()
		c.wait(c.o.delay)
	}
	if pipelined(c.r) {
		return c.out.hold(p)
	}
	return c.out.send(p)
}

// ready sends a 220: the greeting, or the answer to STARTTLS. After STARTTLS go-smtp expects to read TLS. The
// connection ends for it, and begins again when TLS is established.
func (c *conn) ready(p []byte) (int, error) {
	switch {
	case !c.greeted && c.secure: // the client has been greeted
		c.greeted = true
		return len(p), nil
	case !c.greeted:
		c.greeted = true
		return c.out.send(p)
	}
	n, err := c.out.send(p)
	c.muted = true
	c.mu.Lock()
	c.upgrading = err == nil
	c.mu.Unlock()
	return n, err
}

// judge counts a reply by the first digit of its code, and reports whether to delay it. Temporary failures may be
// the server's fault, so they have a limit of their own and do not count against the client.
func (c *conn) judge(code byte) bool {
	switch code {
	case '2', '3':
		c.commands++
		c.charged++
		if c.commands >= c.o.maxCommands {
			c.o.refuse(refusedCommands)
			c.finish(tooManyCommands(c.o.maxCommands))
		}
		return c.client.commanded(1)
	case '4':
		c.temporary++
		if c.temporary >= maxTemporary {
			c.o.refuse(refusedCommands)
			c.finish(tooManyCommands(maxTemporary))
		}
	case '5':
		c.errors++
		if c.errors >= maxErrors {
			c.o.refuse(refusedErrors)
			c.finish(tooManyErrors())
		}
		return c.client.failed() || c.errors > freeErrors
	}
	return false
}

// excuse forgives the client the commands that led to a failure of the server.
func (c *conn) excuse() {
	c.client.commanded(-c.charged)
	c.charged = 0
}

// accepted forgives the commands that led to a mail, and the one whose reply comes next.
func (c *conn) accepted() {
	c.charged++
	c.excuse()
	c.commands, c.temporary, c.charged = -1, 0, -1
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
}

// wait returns after d, or if the connection is to end.
func (c *conn) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.done:
	}
}

// finish ends the connection before the next command, with a last reply.
func (c *conn) finish(reply *smtp.SMTPError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = reply
}

// evict ends the connection at once with a last reply, unless it is committing a mail.
func (c *conn) evict(reply *smtp.SMTPError) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == commitPhase {
		return false
	}
	c.farewell, c.until = reply, longAgo
	c.doneOnce.Do(func() { close(c.done) })
	_ = c.Conn.SetReadDeadline(longAgo)
	return true
}

// evicted returns the last reply, and true, if the connection was told to end at once. The caller sends it.
func (c *conn) evicted() (reply *smtp.SMTPError, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply, c.farewell = c.farewell, nil
	if reply == nil {
		reply = errSlowest
	}
	return reply, c.until.Equal(longAgo)
}

// weight orders connections for eviction: those that are idle for at least window by their age, then slow transfers by
// their rate. ok is false if the connection must stay.
func (c *conn) weight(now time.Time, window time.Duration) (slow bool, by float64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case commandPhase:
		age := now.Sub(c.since)
		return false, -age.Seconds(), age >= window
	case transferPhase:
		by, ok = c.pace.slow(c.o.window, now)
		return true, by, ok
	}
	return false, 0, false
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && !c.busy {
		t = longAgo
	}
	if !c.until.IsZero() {
		t = earlier(t, c.until)
	}
	return c.Conn.SetReadDeadline(t)
}

// Close ends the connection, or hands it over to TLS.
func (c *conn) Close() error {
	c.mu.Lock()
	upgrading := c.upgrading
	c.upgrading = false
	c.mu.Unlock()
	if upgrading {
		c.o.upgrade(c)
		return nil
	}
	_ = c.out.flush()
	if c.secure {
		_ = c.stream.Close() // says goodbye, within 5 s
	}
	return c.cut()
}

// cut closes the socket whatever happens on it.
func (c *conn) cut() error {
	c.doneOnce.Do(func() { close(c.done) })
	c.o.closed(c)
	return c.Conn.Close()
}

// secured continues the connection above TLS. The client must greet again.
func (c *conn) secured(stream io.ReadWriteCloser) {
	c.attach(stream) // what the client sent before is dropped
	c.secure, c.greeted, c.muted, c.partial = true, false, false, false
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = commandBytes
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
	c.busy, c.naming = true, true
	return true
}

// end closes the mail transaction. If a transfer is still open, the client gave up
// between two chunks. Its reader may outlive the transaction for a moment, so no
// other transaction may begin on this connection.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if c.phase == transferPhase {
		c.broken, c.budget = true, 0
	}
	c.phase = commandPhase
	if c.draining {
		_ = c.Conn.SetReadDeadline(longAgo)
	}
}

// content returns the reader of the mail after DATA; nil after BDAT, where go-smtp reads it.
func (c *conn) content() *dataReader {
	if !c.dataMode.Load() {
		return nil
	}
	return &dataReader{r: c.r}
}

// contentRead tells go-smtp that the mail after DATA is complete: it may read its own end of data.
func (c *conn) contentRead() { c.inject = ".\r\n" }

// startTransfer lifts the budget. The mail must be complete at end, and keep the minimum rate until then.
func (c *conn) startTransfer(end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = transferPhase
	c.pace.begin(time.Now())
	c.limit(end)
}

// await sets the deadline of the next read of a transfer.
func (c *conn) await(end time.Time) {
	c.mu.Lock()
	c.limit(end)
	c.mu.Unlock()
	_ = c.SetReadDeadline(end)
}

func (c *conn) limit(end time.Time) {
	if !c.until.Equal(longAgo) {
		c.until = earlier(end, c.pace.deadline())
	}
}

// endTransfer lets the client of a mail that was refused before its end send rest
// more bytes before the reply. At 0 the connection ends after the reply: bytes that
// follow a broken transfer must not be read as commands.
func (c *conn) endTransfer(rest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.broken {
		c.phase, c.broken, c.budget = commitPhase, rest == 0, rest
	}
	if !c.until.Equal(longAgo) {
		c.until = time.Time{}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
