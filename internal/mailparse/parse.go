package mailparse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Parse reads a mail as far as it can be read until ctx ends. It never fails and never panics. Its work is bounded by
// the mail's size.
func Parse(ctx context.Context, raw []byte) *Mail {
	m, _ := parse(ctx, raw, -1, usual)
	return m
}

// ParseWhole is [Parse] without its limits for bodies, for the number of addresses and of a report's recipients, and for
// the length of fields of addresses and of the subject. The budget and the limits of the header stay.
func ParseWhole(ctx context.Context, raw []byte) *Mail {
	// No charset makes more than 4 bytes of one.
	m, _ := parse(ctx, raw, -1, extent{body: 4*len(raw) + 1, field: MaxHeaderBytes, addresses: MaxHeaderBytes, report: len(raw) + 1, lines: len(raw) + 1, reported: len(raw) + 1})
	return m
}

// ErrNoAttachment means that the mail has no attachment of that number.
var ErrNoAttachment = errors.New("the mail has no such attachment")

// ReadAttachment reads the nth attachment of a raw mail, counted from 0 as in [Mail.Attachments], and its decoded
// content. It has the bounds of [Parse]. Its errors are [ErrNoAttachment] and, if ctx ends before the mail is read, the
// context's.
func ReadAttachment(ctx context.Context, raw []byte, n int) (Attachment, []byte, error) {
	m, content := parse(ctx, raw, n, usual)
	if err := ctx.Err(); err != nil {
		// The content may be incomplete.
		return Attachment{}, nil, fmt.Errorf("read an attachment: %w", context.Cause(ctx))
	}
	if n < 0 || n >= len(m.Attachments) {
		return Attachment{}, nil, ErrNoAttachment
	}
	return m.Attachments[n], content, nil
}

func parse(ctx context.Context, raw []byte, want int, much extent) (*Mail, []byte) {
	b := newBudget(ctx, len(raw))
	s := SplitMail(raw)
	m := &Mail{Header: s.Header, Body: s.Body, Strays: s.Strays, Over: s.Over, Cut: map[string]bool{}, AutoSubmitted: NotAuto}
	r := &reader{b: b, want: want, much: much}
	b.used += int64(len(raw) - len(s.Body))
	if s.Strays > 0 {
		b.mark(fmt.Sprintf("%d lines of the header are no fields", s.Strays))
	}
	b.guard("header", func() { m.readHeader(b, much) })
	switch {
	case len(raw) == 0:
		b.mark("the mail is empty")
	case s.Over:
		b.mark(fmt.Sprintf("the header has over %d bytes", MaxHeaderBytes))
	default:
		b.guard("body", func() {
			r.read(m, scan(b, raw, len(raw)-len(s.Body), s.Header))
		})
	}
	m.Attachments = r.attachments
	b.guard("header", func() { m.readOrigin(much) })
	b.guard("quotation", func() { m.readReply(b) })
	if !s.Header.Has("From") {
		b.mark("there is no From")
	}
	m.Problem, m.Steps, m.Incomplete = b.problem(), b.used, b.over || s.Over
	return m, r.wanted
}

func (m *Mail) readHeader(b *budget, much extent) {
	for _, f := range m.Header {
		if !utf8.ValidString(f.Value) {
			b.mark("the field " + f.Name + " is not UTF-8")
		}
	}
	b.spend(4 * headerSize(m.Header))
	// Bytes that are not encoded have the charset of the text, if they are not UTF-8.
	label := parseMediaField(m.Header.Get("Content-Type"), "").params["charset"]
	m.Subject = strings.TrimSpace(decodeWords(Cut(m.Header.Get("Subject"), much.field), label))
	if v := m.Header.Get("Date"); v != "" {
		if m.Date, m.HasDate = Date(v); !m.HasDate {
			b.mark("the field Date is no date")
		}
	}
	for _, l := range []struct {
		field, name string
		list        *[]Address
	}{{"from", "From", &m.From}, {"to", "To", &m.To}, {"cc", "Cc", &m.Cc}, {"reply_to", "Reply-To", &m.ReplyTo}} {
		list, ok, cut := addresses(m.Header.All(l.name), much.addresses, much.field)
		if !ok {
			b.mark("the field " + l.name + " is no list of addresses")
		}
		if cut {
			m.Cut[l.field] = true
		}
		*l.list = list
	}
}

func headerSize(h Header) int {
	n := 0
	for _, f := range h {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

// read fills in the bodies and the attachments.
func (r *reader) read(m *Mail, root *part) {
	shown := classify(root)
	order := append(append([]*part{}, shown.text...), shown.html...)
	texts := map[*part]string{}
	room := map[bool]int{true: r.much.body, false: r.much.body} // by whether it is HTML
	for _, p := range order {
		if _, ok := texts[p]; ok {
			continue
		}
		r.extractFiles(p)
		if room[p.isHTML()] == 0 {
			m.Cut[bodyName(p)], texts[p] = true, ""
			continue
		}
		s, cut := r.body(p, room[p.isHTML()])
		if cut {
			m.Cut[bodyName(p)] = true
			room[p.isHTML()] = 0
		}
		room[p.isHTML()] = max(0, room[p.isHTML()]-len(s))
		texts[p] = s
	}
	j := joiner{b: r.b, texts: texts, converted: map[*part]string{}}
	m.HTML = j.html(shown.html)
	m.Text, m.TextFromHTML = j.text(shown)
	for _, p := range shown.attachments {
		r.attach(p)
	}
	m.Report, m.Calendar = r.readReport(root), r.readCalendar(root)
	if m.Report == nil {
		m.Report = r.readBounce(m, root)
	}
}

func bodyName(p *part) string {
	if p.isHTML() {
		return "html"
	}
	return "text"
}

// readReply finds what the author wrote above the mail that he quotes. Where the text does not show the quotation, the
// HTML may.
func (m *Mail) readReply(b *budget) {
	if !b.spend(8 * len(m.Text)) {
		return
	}
	if reply, ok := stripHTML(b, m.HTML); ok {
		m.ReplyHTML = &reply
	}
	if reply, ok := StripQuotation(m.Text); ok {
		m.Reply = &reply
	} else if m.ReplyHTML != nil {
		if reply := htmlToText(b, *m.ReplyHTML); reply != "" {
			m.Reply = &reply
		}
	}
}
