package ingest

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
)

// session is one client's connection from its greeting on.
type session struct {
	s      *receiver
	conn   *conn
	smtp   *smtp.Conn
	from   string
	size   int64 // of the mail, by the client's word; 0: not given
	to     []recipient
	filter filter
	// ahead is how far the database's clock is ahead of this machine's.
	ahead time.Duration
}

func (s *receiver) newSession(c *smtp.Conn) (smtp.Session, error) {
	gated, ok := c.Conn().(*conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T did not come through the gate", c.Conn())
	}
	return &session{s: s, conn: gated, smtp: c, filter: filter{s: s, conn: gated}}, nil
}

// Mail begins a transaction.
func (c *session) Mail(from string, o *smtp.MailOptions) error {
	if !c.conn.begin() {
		c.s.m.refuse(refusedStopping)
		return errStopping
	}
	if refused := c.filter.sender(c.smtp.Hostname(), from); refused != nil {
		c.conn.end()
		return refused
	}
	c.from = from
	if o != nil {
		c.size = o.Size
	}
	return nil
}

// Rcpt looks up each address once in a transaction. The database is asked for all that are unknown, so that an agent that
// was created a moment ago is known. The gate bounds how often a client may ask in vain.
func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	for _, known := range c.to {
		again := known
		again.address = to
		if again = again.addressed(); again.key == known.key {
			if refused := c.filter.recipient(to); refused != nil {
				return refused
			}
			c.to = append(c.to, again)
			return nil
		}
	}
	r, now, err := c.s.to.lookUp(c.s.work, to)
	if err == nil {
		err = c.s.to.room(c.s.work, r, c.size)
	}
	switch {
	case errors.Is(err, errUnknown):
		c.s.m.refuse(refusedRecipient)
		return errUnknown
	case isReply(err):
		return err
	case err != nil:
		c.conn.excuse()
		c.s.m.refuse(refusedDatabase)
		c.s.log.Warn("cannot look up a recipient", zap.Error(err))
		return errDatabase
	}
	if refused := c.filter.recipient(to); refused != nil {
		return refused
	}
	c.ahead = time.Until(now)
	c.to = append(c.to, r)
	return nil
}

// isReply reports whether an error is a reply to the client.
func isReply(err error) bool {
	_, ok := errors.AsType[*smtp.SMTPError](err)
	return ok
}

// Data reads the mail and commits it.
func (c *session) Data(r io.Reader) error {
	began := time.Now()
	received := spool{dir: c.s.o.SpoolDir}
	reserved := transfer{conn: c.conn}
	defer c.s.transfers.release(&reserved)
	defer received.close()
	if err := c.receive(r, &received, &reserved); err != nil {
		return err
	}
	m := mail{from: c.from, to: c.to, at: time.Now().Add(c.ahead), helo: c.smtp.Hostname(), client: peer(c.conn).Addr()}
	content, err := c.filter.content(&received, &m)
	if err != nil {
		return err
	}
	defer content.close()
	if !content.discarded {
		err = c.submit(&m, content, began)
	}
	if refused, ok := errors.AsType[*smtp.SMTPError](err); err != nil && (!ok || refused.Code/100 != 5) { // our fault
		c.conn.excuse()
	}
	if err != nil {
		return err
	}
	c.conn.accepted()
	return nil
}

// submit reads the mail into memory and hands it over. An error is the reply to the client.
func (c *session) submit(m *mail, content *content, began time.Time) error {
	m.size = content.size()
	parsed, release, err := c.s.hold(c.s.work, m.size)
	if err != nil {
		c.s.m.refuse(refusedStopping)
		return errStopping
	}
	defer release()
	if m.raw, err = content.bytes(); err != nil {
		return c.s.notStored(c.conn, err)
	}
	if m.size >= spoolAfter {
		m.spool, m.small = content, parsed
	}
	ctx, end := c.s.trace(c.s.work, began, m.size, len(m.to))
	err = c.s.to.accept(ctx, *m)
	end(err)
	return err
}

// Reset drops the transaction.
func (c *session) Reset() {
	c.filter.end()
	c.from, c.size, c.to = "", 0, nil
	c.conn.end()
}

// Logout ends the session.
func (c *session) Logout() error {
	c.filter.end()
	c.conn.end()
	return nil
}

// receive reads the mail into the spool. If it refuses the mail, it still reads the rest within bounds, so that
// the client gets the reply. If the mail breaks off, the connection ends after the reply.
func (c *session) receive(r io.Reader, to *spool, reserved *transfer) error {
	end := time.Now().Add(c.s.o.DataTimeout)
	content := c.conn.content()
	if content != nil {
		r = content
	}
	c.conn.startTransfer(end)
	answer, whole := c.read(r, to, reserved, end)
	rest := int64(commandBytes)
	if answer != nil && whole {
		rest = 2 * c.s.o.MaxMessageBytes
		if content != nil {
			whole = c.discard(content, rest, end)
		}
	}
	switch {
	case !whole:
		rest = 0
	case content != nil:
		c.conn.contentRead()
	}
	c.conn.endTransfer(rest)
	return answer
}

// read returns the reply to a mail that is refused, and whether the client can be expected to send all of it.
func (c *session) read(r io.Reader, to *spool, reserved *transfer, end time.Time) (answer error, whole bool) { //nolint:revive // the reply is no failure of the call
	for {
		c.conn.await(earlier(end, time.Now().Add(c.s.o.ReadTimeout)))
		n, err := r.Read(to.room())
		c.conn.arrived(n)
		size := to.size + int64(n)
		if size > c.s.o.MaxMessageBytes {
			c.s.m.refuse(refusedSize)
			return smtp.ErrDataTooLarge, true
		}
		if size >= spoolAfter {
			if answer := c.reserve(reserved, size); answer != nil {
				return answer, true
			}
		}
		if spooling := to.wrote(n); spooling != nil {
			return c.s.notStored(c.conn, spooling), true
		}
		var refused *smtp.SMTPError
		switch {
		case errors.Is(err, io.EOF):
			return nil, true
		case errors.As(err, &refused): // by go-smtp, within BDAT
			return refused, true
		case err != nil:
			return c.brokeOff(end), false
		}
	}
}

// reserve takes room for size bytes in the temporary files, or returns the reply.
func (c *session) reserve(t *transfer, size int64) error {
	switch c.s.transfers.reserve(t, size) {
	case overTotal:
		c.s.m.refuse(refusedMemory)
		return errFull
	case overShare:
		c.s.m.refuse(refusedClientMemory)
		return tooMuchMail(c.s.transfers.share)
	}
	return nil
}

// brokeOff returns the reply to a mail that broke off.
func (c *session) brokeOff(end time.Time) error {
	now := time.Now()
	answer, evicted := c.conn.evicted()
	switch {
	case evicted: // counted already
		return answer
	case now.After(end):
		c.s.m.refuse(refusedSlow)
		return tooLong(c.s.o.DataTimeout)
	case now.After(c.conn.pace.deadline()):
		c.s.m.refuse(refusedSlow)
		return errSlow
	}
	c.s.m.refuse(refusedAborted)
	return errBroken
}

// discard reads at most n bytes up to the end of the mail, and reports whether it found that.
func (c *session) discard(r io.Reader, n int64, end time.Time) bool {
	buf := make([]byte, 32<<10)
	for n > 0 {
		c.conn.await(earlier(end, time.Now().Add(c.s.o.ReadTimeout)))
		got, err := r.Read(buf)
		c.conn.arrived(got)
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		n -= int64(got)
	}
	return false
}
