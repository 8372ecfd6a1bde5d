package ingest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
)

// session is one client's connection from its greeting on.
type session struct {
	s    *receiver
	conn *conn
	smtp *smtp.Conn
	from string
	to   []recipient
	// ahead is how far the database's clock is ahead of this machine's.
	ahead time.Duration
}

func (s *receiver) newSession(c *smtp.Conn) (smtp.Session, error) {
	nc := c.Conn()
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	gated, ok := nc.(*conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T did not come through the gate", nc)
	}
	return &session{s: s, conn: gated, smtp: c}, nil
}

// Mail begins a transaction.
func (c *session) Mail(from string, _ *smtp.MailOptions) error {
	if !c.conn.begin() {
		c.s.m.refuse(refusedStopping)
		return errStopping
	}
	c.from = from
	return nil
}

// Rcpt asks the database each time, so that an agent that was created a moment ago
// is known.
func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	r, now, err := c.s.lookUp(c.s.work, to)
	switch {
	case errors.Is(err, errUnknown):
		c.s.m.refuse(refusedRecipient)
		return errUnknown
	case err != nil:
		c.s.m.refuse(refusedDatabase)
		c.s.log.Warn("cannot look up a recipient", zap.Error(err))
		return errDatabase
	}
	c.ahead = time.Until(now)
	c.to = append(c.to, r)
	return nil
}

// Data reads the mail and commits it.
func (c *session) Data(r io.Reader) error {
	began := time.Now()
	raw, held, err := c.read(r)
	defer c.s.buffered.Add(-held)
	if err != nil {
		return err
	}
	m := mail{from: c.from, to: c.to, raw: raw, at: time.Now().Add(c.ahead), helo: c.smtp.Hostname()}
	if client, ok := c.conn.RemoteAddr().(*net.TCPAddr); ok {
		m.client = client.AddrPort().Addr()
	}
	ctx, end := c.s.trace(c.s.work, began, len(raw), len(c.to))
	err = c.s.accept(ctx, m)
	end(err)
	return err
}

// Reset drops the transaction.
func (c *session) Reset() {
	c.from, c.to = "", nil
	c.conn.end()
}

// Logout ends the session.
func (c *session) Logout() error {
	c.conn.end()
	return nil
}

// read takes the mail into memory. held is how much of the
// server's memory it has reserved; the caller releases it.
func (c *session) read(r io.Reader) (raw []byte, held int64, err error) {
	c.conn.startTransfer()
	rest := int64(commandBytes)
	defer func() { c.conn.endTransfer(rest) }()
	buf := bytes.NewBuffer([]byte{}) // an empty mail is no NULL
	chunk := make([]byte, 32<<10)
	end := time.Now().Add(c.s.o.DataTimeout)
	for {
		now := time.Now()
		_ = c.conn.SetReadDeadline(earlier(end, now.Add(c.s.o.ReadTimeout)))
		n, err := r.Read(chunk)
		if grow := int64(n); grow > 0 {
			held += grow
			if c.s.buffered.Add(grow) > c.s.o.MaxBufferedBytes {
				c.s.m.refuse(refusedMemory)
				rest = 2 * c.s.o.MaxMessageBytes
				return nil, held, errMemory
			}
		}
		buf.Write(chunk[:n])
		var answer *smtp.SMTPError
		switch {
		case errors.Is(err, io.EOF):
			return buf.Bytes(), held, nil
		case errors.As(err, &answer):
			c.s.m.refuse(refusedSize)
			// Keep reading, within bounds, so that the client gets the reply.
			rest = 2 * c.s.o.MaxMessageBytes
			return nil, held, answer
		case err != nil || now.After(end):
			c.s.m.refuse(refusedAborted)
			rest = 0
			return nil, held, errBroken
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
