package ingest

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// recipient is an address of the envelope that belongs to an agent.
type recipient struct {
	address string // as the client wrote it
	agent   string
	tenant  events.TenantID
	key     string // the address as it tells copies apart
	tag     string
	senders mailbox.SenderRules
	hooked  bool // the agent has a webhook of its own
}

// addressed fills in what the address says.
func (r recipient) addressed() recipient {
	r.key, r.tag = mailbox.Recipient(r.agent, r.address)
	return r
}

// mail is what one SMTP transaction received.
type mail struct {
	from string
	to   []recipient
	raw  []byte
	size int64
	at   time.Time // by the database's clock

	// spool has a mail in a temporary file, from which the transaction reads it. It is nil for other mails.
	spool interface{ reader() io.Reader }
	// blob is the raw mail in the blob store, if it is there. Its transaction ends before blobEnd.
	blob    *mailbox.Blob
	blobEnd time.Time
	// small tells that raw is not in memory any more. It is nil where spool is.
	small func()

	promised       bool // it was answered with 250 already, so no quota refuses it
	client         netip.Addr
	helo           string
	milters        []email.Milter // what they said; nil for none
	received       []byte         // the hash of the mail as the client sent it, if a milter changed it
	authentication email.Authentication
	moreSignatures bool // than authentication tells of
}

// content is the raw mail.
func (m *mail) content() *io.SectionReader {
	if m.spool != nil {
		return io.NewSectionReader(&sequence{open: m.spool.reader}, 0, m.size)
	}
	return io.NewSectionReader(bytes.NewReader(m.raw), 0, m.size)
}

// sequence reads a mail from any place on. What is read in order is read once.
type sequence struct {
	open func() io.Reader

	mu sync.Mutex
	r  io.Reader // nil: not opened
	at int64
}

// ReadAt is [io.ReaderAt].
func (s *sequence) ReadAt(p []byte, from int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.r == nil || from != s.at {
		s.r, s.at = s.open(), from
		if _, err := io.CopyN(io.Discard, s.r, from); err != nil {
			s.r = nil
			return 0, err
		}
	}
	n, err := io.ReadFull(s.r, p)
	s.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// parsed lets go of the bytes that nobody reads again.
func (m *mail) parsed() {
	if m.spool != nil {
		m.raw = nil
		m.small()
	}
}

// copied is one agent's copy of a mail.
type copied struct {
	id      events.MessageID
	event   events.Event
	senders mailbox.SenderRules // that the mail was checked against
	hooked  bool                // the agent had a webhook of its own when it was looked up
	data    *email.Received     // the event's, before it is cut to fit

	prepared []outbox.Prepared // the event, and that about a report
	events   int               // how many those are
	made     int               // how many of them the commit inserted
}
