package attempt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
)

const (
	// brokerLine bounds a line of the protocol. The first one lists the servers of a cluster.
	brokerLine = 64 << 10
	// brokerFirst is how long a broker with the scheme tls may take for its first byte. One that sends none waits for the
	// handshake (handshake_first), by default for 2 s.
	brokerFirst = time.Second
	// brokerMessage bounds what a broker may send as one message: answers to publications are small.
	brokerMessage = 64 << 10
)

var (
	// errNoTLS means that the broker does not offer TLS.
	errNoTLS = errors.New("no TLS")
	// errBroker means that the broker breaks the protocol, or sends more than it needs to.
	errBroker = errors.New("unexpected data of a broker")
)

// brokerDialer opens connections for the client of NATS, through the same checks as those of POSTs. It reads the broker's
// first line, after which the protocol begins TLS, and makes the handshake. With a broker that says nothing before the
// handshake, it begins with that.
type brokerDialer struct {
	dialer    *dialer
	encrypted bool
	host      string

	mu   sync.Mutex
	conn net.Conn
	err  error
}

// failure is the error of the last Dial.
func (d *brokerDialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// SkipTLSHandshake tells the client that the handshake is made here.
func (d *brokerDialer) SkipTLSHandshake() bool { return true }

// Dial implements [nats.CustomDialer].
func (d *brokerDialer) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := d.open(ctx, network, addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn, d.err = conn, err
	return conn, err
}

// lastWord is why the broker has ended the connection, or err. It refuses a client by a line, or by a TLS alert, and the
// client may see first that it can't write.
func (d *brokerDialer) lastWord(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil || !ended(err) {
		return err
	}
	_ = d.conn.SetReadDeadline(time.Now().Add(alertTimeout))
	p := make([]byte, 4<<10)
	for {
		n, why := d.conn.Read(p)
		if refused := refusal(p[:n]); refused != nil {
			return refused
		}
		if why != nil && isAlert(why) {
			return why
		}
		if why != nil || n == 0 {
			return err
		}
	}
}

// refusal is the error that a broker sends, as the client of NATS writes it; nil if there is none.
func refusal(p []byte) error {
	_, text, found := bytes.Cut(p, []byte("-ERR '"))
	if !found {
		return nil
	}
	text, _, _ = bytes.Cut(text, []byte("'"))
	return errors.New("nats: " + string(text))
}

func (d *brokerDialer) open(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := d.dialer.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn, err := d.begin(ctx, raw, addr)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// begin reads the first line, and makes the handshake if one side asks for TLS.
func (d *brokerDialer) begin(ctx context.Context, raw *countedConn, addr string) (net.Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(raw, brokerLine)
	if d.encrypted {
		silent, err := d.silent(raw, in)
		if err != nil {
			return nil, err
		}
		if silent {
			return d.secure(ctx, raw, addr, nil)
		}
	}
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errBroker
	}
	if err != nil {
		return nil, fmt.Errorf("read the broker's first line: %w", err)
	}
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	text, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok || json.Unmarshal(text, &info) != nil {
		return nil, errBroker
	}
	first := bytes.Clone(line)
	rest, err := in.Peek(in.Buffered())
	if err != nil {
		return nil, err
	}
	switch refused := refusal(rest); {
	case refused != nil: // there are too many connections
		return nil, refused
	case d.encrypted && !info.Required && !info.Available:
		return nil, errNoTLS
	case !d.encrypted && !info.Required:
		out := &brokerConn{Conn: raw, first: first}
		if err := out.check(rest); err != nil {
			return nil, err
		}
		out.first = append(out.first, rest...)
		return out, raw.SetDeadline(time.Time{})
	case len(rest) > 0:
		return nil, errBroker // it would be outside of TLS
	}
	return d.secure(ctx, raw, addr, first)
}

// silent reports whether the broker sends nothing for a while.
func (d *brokerDialer) silent(raw *countedConn, in *bufio.Reader) (bool, error) {
	if err := raw.SetReadDeadline(time.Now().Add(brokerFirst)); err != nil {
		return false, err
	}
	_, err := in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, raw.SetReadDeadline(time.Now().Add(handshakeTimeout))
	}
	if err != nil {
		return false, fmt.Errorf("read the broker's first line: %w", err)
	}
	return false, raw.SetReadDeadline(time.Now().Add(handshakeTimeout))
}

// secure makes the handshake. first is what was read before it.
func (d *brokerDialer) secure(ctx context.Context, raw *countedConn, addr string, first []byte) (net.Conn, error) {
	secured, err := d.dialer.handshake(ctx, raw, d.host, addr)
	if err != nil {
		return nil, err
	}
	return &brokerConn{Conn: secured, first: first}, raw.SetDeadline(time.Time{})
}

// brokerConn bounds what a broker makes the client allocate. The client takes memory for a message as large as the broker
// announces, before it has come, and fails the whole process where that is more than there can be. The client is lenient:
// what is a message to it need not look like one. So what passes is only what a server writes, byte by byte.
type brokerConn struct {
	net.Conn

	first []byte // what was read while the connection was opened
	line  []byte // the beginning of a line
	skip  int    // what is left of a message
	end   []byte // what must follow it
}

// lineEnd ends each line and each message.
var lineEnd = []byte("\r\n")

// brokerSays are the lines of a server, without their end. The last number of a message is its size.
var brokerSays = regexp.MustCompile(`^(?:PING|PONG|\+OK|-ERR '[^\r]*|INFO \{[^\r]*|(?:MSG|HMSG) [^ \t\r]+ [0-9]{1,18} (?:[^ \t\r]+ )?(?:[0-9]{1,6} )?([0-9]{1,6}))$`)

func (c *brokerConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if wrong := c.check(p[:n]); wrong != nil {
		return 0, wrong
	}
	return n, err
}

// check follows the protocol: lines, of which those of messages announce how many bytes follow.
func (c *brokerConn) check(p []byte) error {
	for len(p) > 0 {
		switch {
		case c.skip > 0:
			n := min(c.skip, len(p))
			c.skip, p = c.skip-n, p[n:]
		case len(c.end) > 0:
			if p[0] != c.end[0] {
				return errBroker
			}
			c.end, p = c.end[1:], p[1:]
		default:
			rest, err := c.next(p)
			if err != nil {
				return err
			}
			p = rest
		}
	}
	return nil
}

// next reads up to the end of a line, and returns what follows.
func (c *brokerConn) next(p []byte) (rest []byte, err error) {
	line, rest, whole := bytes.Cut(p, []byte("\n"))
	if c.line = append(c.line, line...); len(c.line) > brokerLine {
		return nil, errBroker
	}
	if !whole {
		return nil, nil
	}
	text, ok := bytes.CutSuffix(c.line, []byte("\r"))
	said := brokerSays.FindSubmatch(text)
	if !ok || said == nil {
		return nil, errBroker
	}
	c.line = c.line[:0]
	if announced := said[1]; announced != nil {
		if c.skip, err = strconv.Atoi(string(announced)); err != nil || c.skip > brokerMessage {
			return nil, errBroker
		}
		c.end = lineEnd
	}
	return rest, nil
}
