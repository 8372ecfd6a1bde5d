package ingest

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// parseTimeout ends the parsing of one mail. The parser's own budget ends it long before, unless the machine is
// overloaded.
const parseTimeout = time.Minute

// parse reads the mail. It fails only if ctx ends.
func (s *receiver) parse(ctx context.Context, raw []byte) (*parsed, error) {
	lot, weight := s.small, int64(len(raw))+4096
	if len(raw) > largeMail {
		lot, weight = s.large, min(weight, largeBytes)
	}
	if err := lot.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer lot.Release(weight)
	ctx, cancel := context.WithTimeout(ctx, parseTimeout)
	defer cancel()
	return parseMail(ctx, raw), nil
}

// parseMail reads the mail as far as it can be read until ctx ends, and cuts each field to its limit. It never fails
// and never panics.
func parseMail(ctx context.Context, raw []byte) *parsed {
	return fieldsOf(mailparse.Parse(ctx, raw), raw, false)
}

// fieldsOf returns the fields of a mail, each cut to its limit unless they are to be in full.
func fieldsOf(m *mailparse.Mail, raw []byte, full bool) *parsed {
	p := &parsed{
		full:   full,
		header: m.Header, print: fingerprint(m.Header, m.Body), problem: m.Problem, cut: m.Cut,
		headers: [][2]string{}, attachments: []email.Attachment{}, references: []string{},
	}
	p.messageID = mailparse.Cut(firstID(p.header.Get("Message-ID")), maxIDBytes)
	if m.Strays > 0 || m.Over || p.messageID == "" {
		// Two mails may differ in something that the fingerprint leaves out.
		sum := sha256.Sum256(raw)
		p.print, p.whole = sum[:], true
	}
	p.readHeaders(m.Over)
	p.readDetails(m)
	p.readThread()
	p.readConversation()
	p.subject = p.limit("subject", m.Subject, maxSubjectBytes)
	if m.HasDate {
		p.date = m.Date.Format(time.RFC3339)
	}
	p.from, p.to = p.addresses("from", m.From), p.addresses("to", m.To)
	p.cc, p.replyTo = p.addresses("cc", m.Cc), p.addresses("reply_to", m.ReplyTo)
	p.text, p.html = p.limit("text", m.Text, 2*events.MaxEnvelopeBytes), p.limit("html", m.HTML, 2*events.MaxEnvelopeBytes)
	p.textFromHTML, p.reply, p.replyHTML = m.TextFromHTML, m.Reply, m.ReplyHTML
	for _, a := range m.Attachments {
		p.attachments = append(p.attachments, email.Attachment{
			Filename:    p.limit("attachments", a.Filename, maxNameBytes),
			ContentType: p.limit("attachments", a.ContentType, maxNameBytes),
			Size:        a.Size,
			SHA256:      a.SHA256,
			ContentID:   p.limit("attachments", a.ContentID, maxIDBytes),
			Inline:      a.Inline,
			Parts:       p.parts(a.Parts),
		})
	}
	return p
}

func (p *parsed) readHeaders(over bool) {
	if over {
		p.cut["headers"] = true
	}
	for _, f := range p.header {
		if len(p.headers) == maxHeaders && !p.full {
			p.cut["headers"] = true
			break
		}
		p.headers = append(p.headers, [2]string{
			p.limit("headers", f.Name, maxNameBytes), p.limit("headers", mailparse.Text(f.Value), maxFieldBytes),
		})
	}
	p.limit("message_id_header", firstID(p.header.Get("Message-ID")), maxIDBytes)
}

func (p *parsed) parts(list []mailparse.Part) []email.Part {
	var out []email.Part
	for _, a := range list {
		out = append(out, email.Part{
			Filename: p.limit("attachments", a.Filename, maxNameBytes), ContentType: p.limit("attachments", a.ContentType, maxNameBytes), Size: a.Size,
		})
	}
	return out
}
