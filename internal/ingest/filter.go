package ingest

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/milter"
)

// errHeader refuses a mail whose header is too long for milters.
var errHeader = &smtp.SMTPError{
	Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4},
	Message: fmt.Sprintf("The header is too long to be checked (limit: %d bytes, %d fields)", milter.MaxHeaderBytes, milter.MaxHeaderFields),
}

// newMilters creates the chain of milters.
func (s *receiver) newMilters() *milter.Chain {
	decided := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_ingest_milter_decisions_total", Help: "Decisions of milters about mails and recipients, by milter and decision; failed: it gave none.",
	}, []string{"milter", "decision"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "fanmail_ingest_milter_seconds", Help: "How long a milter took for a mail until it decided, over all commands.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 14),
	}, []string{"milter"})
	register(s.o.Registerer, decided, took)
	for _, a := range s.o.Milters {
		for _, d := range milter.Decisions() {
			decided.WithLabelValues(a.Name, string(d))
		}
		took.WithLabelValues(a.Name)
	}
	return milter.New(s.o.Milters, milter.Options{
		Host: s.o.Domain, CommandTimeout: s.o.MilterTimeout, ContentTimeout: 8 * s.o.MilterTimeout, // 0: the default
		Report: s.o.ReportMilter,
		Failed: func(f *milter.Failure) {
			s.log.Warn("a milter failed", zap.String("milter", f.Address.Name), zap.Bool("mail_passes", f.Address.AcceptOnFailure), zap.Error(f))
		},
		Observe: func(name string, d milter.Decision, t time.Duration) {
			decided.WithLabelValues(name, string(d)).Inc()
			took.WithLabelValues(name).Observe(t.Seconds())
		},
	})
}

// filter asks the milters about the mails of one connection.
type filter struct {
	s    *receiver
	conn *conn
	open *milter.Transaction // nil without a mail, and without milters
}

// sender asks the milters about the client and the sender. It returns the reply if the mail is refused.
func (f *filter) sender(helo, from string) error {
	if f.s.milters == nil {
		return nil
	}
	f.end()
	by := milter.Client{Addr: peer(f.conn), Helo: helo, From: from}
	if secure, ok := f.conn.stream.(*tls.Conn); ok {
		state := secure.ConnectionState()
		by.TLS, by.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	t, err := f.s.milters.Begin(f.s.work, by)
	if err != nil {
		return f.refused(err)
	}
	f.open = t
	return nil
}

// recipient asks the milters about a recipient. It returns the reply if the recipient is refused.
func (f *filter) recipient(address string) error {
	if f.open == nil {
		return nil
	}
	if err := f.open.Recipient(f.s.work, address); err != nil {
		return f.refused(err)
	}
	return nil
}

// content is what becomes of a received mail. The caller closes it.
type content struct {
	received  *spool
	mail      *milter.Mail // nil: no milter has changed it
	discarded bool         // a milter dropped it
}

func (c *content) size() int64 {
	if c.mail != nil {
		return c.mail.Size()
	}
	return c.received.size
}

func (c *content) bytes() ([]byte, error) {
	if c.mail != nil {
		return c.mail.Bytes()
	}
	return c.received.bytes()
}

// reader reads the whole mail. What is in a file is not read into memory.
func (c *content) reader() io.Reader {
	if c.mail != nil {
		return c.mail.Reader()
	}
	return c.received.reader()
}

func (c *content) close() {
	if c.mail != nil {
		c.mail.Close()
	}
}

// content asks the milters about the received mail, and notes in m what they said. An error is the reply to the
// client.
func (f *filter) content(received *spool, m *mail) (*content, error) {
	if f.open == nil {
		return &content{received: received}, nil
	}
	filtered, err := milter.Open(received, received.size)
	if errors.Is(err, milter.ErrHeader) {
		f.s.m.refuse(refusedSize)
		return nil, errHeader
	}
	if err != nil {
		return nil, f.s.notStored(f.conn, err)
	}
	result, err := f.open.Content(f.s.work, filtered, f.bodyStore)
	if err != nil {
		filtered.Close()
		return nil, f.refused(err)
	}
	if result.Discarded {
		f.s.log.Info("a milter discarded a mail", zap.Int64("bytes", received.size), zap.Int("recipients", len(m.to)))
		return &content{mail: filtered, discarded: true}, nil
	}
	m.milters = result.Milters
	if !result.Changed {
		filtered.Close()
		return &content{received: received}, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(received, 0, received.size)); err != nil {
		filtered.Close()
		return nil, f.s.notStored(f.conn, err)
	}
	m.received = sum.Sum(nil)
	return &content{mail: filtered}, nil
}

// refused returns the reply to what a milter refuses, or could not be asked about.
func (f *filter) refused(err error) error {
	if r, ok := errors.AsType[*milter.Refusal](err); ok {
		f.s.m.refuse(refusedMilter)
		f.s.log.Info("a milter refused a mail or a recipient", zap.String("milter", r.Milter), zap.Int("code", r.Code), zap.String("reply", r.Text))
		return &smtp.SMTPError{Code: r.Code, EnhancedCode: r.Enhanced, Message: r.Text}
	}
	f.conn.excuse()
	f.s.m.refuse(refusedMilterFailed)
	return errMilter
}

// end ends what the milters are asked.
func (f *filter) end() {
	if f.open != nil {
		f.open.Close(f.s.work)
		f.open = nil
	}
}

// notStored returns the reply to a mail that no file could take.
func (s *receiver) notStored(c *conn, err error) error {
	c.excuse()
	s.m.refuse(refusedSpool)
	s.log.Error("cannot store a mail while it arrives: see to the spool folder", zap.String("spool_dir", s.o.SpoolDir), zap.Error(err))
	return errSpool
}

// peer is the address of the client; the zero value if it is not known.
func peer(c *conn) netip.AddrPort {
	if client, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return client.AddrPort()
	}
	return netip.AddrPort{}
}

// bodyStore returns a store for the body that a milter puts in the place of the mail's.
func (f *filter) bodyStore() milter.Store {
	return &newBody{spool: spool{dir: f.s.o.SpoolDir}, s: f.s, reserved: transfer{conn: f.conn}}
}

// newBody is a body from a milter. It has the limits of a mail from a client.
type newBody struct {
	spool

	s        *receiver
	reserved transfer
}

// Write takes a part of the body.
func (b *newBody) Write(p []byte) (int, error) {
	size := b.size + int64(len(p))
	if size > b.s.o.MaxMessageBytes {
		return 0, fmt.Errorf("the milter sent a body of over %d bytes, the largest mail (FANMAIL_MAX_MESSAGE_BYTES)", b.s.o.MaxMessageBytes)
	}
	if size >= spoolAfter && b.s.transfers.reserve(&b.reserved, size) != fits {
		return 0, errors.New("no room for the milter's new body: raise FANMAIL_MAX_BUFFERED_BYTES")
	}
	for rest := p; len(rest) > 0; {
		n := copy(b.room(), rest)
		if err := b.wrote(n); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Close frees the body.
func (b *newBody) Close() {
	b.s.transfers.release(&b.reserved)
	b.close()
}

// quarantined reports whether a milter wants the mail held back.
func quarantined(list []email.Milter) bool {
	return slices.ContainsFunc(list, func(m email.Milter) bool { return m.Action == email.MilterQuarantine })
}
