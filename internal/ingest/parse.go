package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jhillyerd/enmime/v2"
	"github.com/jhillyerd/enmime/v2/mediatype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of parsing. Data beyond them is not read; it is still in the raw mail.
const (
	parseTimeout  = time.Minute
	maxParts      = 1000
	maxBoundaries = 64
	maxDepth      = 32 // deeper mail is read up to maxBoundaries, and marked
	maxMediaType  = 8 << 10
)

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

// parseMail reads the mail as far as it can be read until ctx ends. It never
// fails and never panics.
func parseMail(ctx context.Context, raw []byte) *parsed {
	p := newParsed()
	m := splitMail(raw)
	p.header = m.header
	p.print = fingerprint(m.header, m.body)
	if m.strays > 0 || m.over {
		// Two mails may differ in something that the fingerprint leaves out.
		sum := sha256.Sum256(raw)
		p.print = sum[:]
	}
	p.messageID = cutAt(firstID(p.header.get("Message-ID")), maxIDBytes)
	if m.strays > 0 {
		p.mark(fmt.Sprintf("%d lines of the header are no fields", m.strays))
	}
	p.guard("header", p.readHeader)
	switch {
	case len(raw) == 0:
		p.mark("the mail is empty")
	case m.over:
		p.mark(fmt.Sprintf("the header has over %d bytes", maxHeaderBytes))
	default:
		p.guard("body", func() { p.readBody(ctx, raw, m.body) })
	}
	p.guard("quotation", func() {
		if reply, ok := stripQuotation(p.text); ok {
			p.reply = &reply
		}
	})
	if len(p.header.all("From")) == 0 {
		p.mark("there is no From")
	}
	return p
}

func (p *parsed) readHeader() {
	for _, f := range p.header {
		if len(p.headers) == maxHeaders {
			p.cut["headers"] = true
			break
		}
		if !utf8.ValidString(f.value) {
			p.mark("the field " + f.name + " is not UTF-8")
		}
		p.headers = append(p.headers, [2]string{p.limit("headers", f.name, maxNameBytes), p.limit("headers", text(f.value), maxFieldBytes)})
	}
	p.readThread()
	p.readConversation()
	p.subject = p.limit("subject", decoded(p.header.get("Subject")), maxSubjectBytes)
	if len(firstID(p.header.get("Message-ID"))) > maxIDBytes {
		p.cut["message_id_header"] = true
	}
	if v := p.header.get("Date"); v != "" {
		if t, err := netmail.ParseDate(cutAt(v, maxNameBytes)); err == nil && t.Year() > 0 && t.Year() < 10000 {
			p.date = t.Format(time.RFC3339)
		} else {
			p.mark("the field Date is no date")
		}
	}
	for _, l := range []struct {
		field, name string
		list        *[]email.Address
	}{{"from", "From", &p.from}, {"to", "To", &p.to}, {"cc", "Cc", &p.cc}, {"reply_to", "Reply-To", &p.replyTo}} {
		list, ok, cut := p.header.addresses(l.name)
		if !ok {
			p.mark("the field " + l.name + " is no list of addresses")
		}
		if cut {
			p.cut[l.field] = true
		}
		*l.list = list
	}
}

func (p *parsed) readBody(ctx context.Context, raw, body []byte) {
	in := &source{ctx: ctx, r: bytes.NewReader(raw), p: p}
	parser := enmime.NewParser(
		enmime.SkipMalformedParts(true),
		enmime.MultipartWOBoundaryAsSinglePart(true),
		enmime.MaxStoredPartErrors(maxProblems),
		enmime.DisableTextConversion(true),
		enmime.DisableCharacterDetection(true),
		enmime.SetReadPartErrorPolicy(enmime.AllowCorruptTextPartErrorPolicy),
		enmime.SetCustomParseMediaType(in.mediaType),
	)
	root, err := parser.ReadParts(in)
	if err != nil {
		p.mark(err.Error())
		p.text = p.body("text", string(body))
		return
	}
	room := map[string]int{"text": events.MaxEnvelopeBytes, "html": events.MaxEnvelopeBytes}
	p.walk(root, 1, room)
	env, err := parser.EnvelopeFromPart(root)
	if err != nil {
		p.mark(err.Error())
		return
	}
	p.text, p.html = p.body("text", env.Text), p.body("html", env.HTML)
	if root.FirstChild == nil && strings.HasPrefix(root.ContentType, "multipart/") {
		p.text = p.body("text", string(body)) // a body without parts is better read as it stands
	}
	for _, e := range env.Errors {
		if e.Severe || lossy[e.Name] {
			p.mark(e.Name + ": " + e.Detail)
		}
	}
}

// body is a body's text, cut to the most that an event can hold.
func (p *parsed) body(name, v string) string {
	return text(p.limit(name, v, 2*events.MaxEnvelopeBytes))
}

// lossy are the parser's warnings about content that was not read, or not as it was
// meant.
var lossy = map[string]bool{
	enmime.ErrorMalformedBase64: true, enmime.ErrorMissingBoundary: true, enmime.ErrorContentEncoding: true,
	enmime.ErrorCharsetConversion: true, enmime.ErrorMalformedHeader: true, enmime.ErrorMalformedChildPart: true,
}

// walk lists the attachments and cuts each body to the most that an event can hold,
// before the bodies are joined.
func (p *parsed) walk(part *enmime.Part, depth int, room map[string]int) {
	if depth == maxDepth+1 {
		p.mark(fmt.Sprintf("the parts are nested over %d deep", maxDepth))
	}
	for ; part != nil; part = part.NextSibling {
		if part.FirstChild != nil {
			p.walk(part.FirstChild, depth+1, room)
			continue
		}
		if strings.HasPrefix(part.ContentType, "multipart/") {
			p.mark("there is nothing between the boundaries of a multipart")
			continue
		}
		if part.ContentType == "" {
			part.ContentType = "text/plain" // RFC 2046, 5.1
		}
		kind := ""
		switch {
		case part.Disposition == "attachment" || part.FileName != "":
		case part.ContentType == "text/plain":
			kind = "text"
		case part.ContentType == "text/html":
			kind = "html"
		}
		if kind == "" {
			p.attach(part)
			if part.ContentType == "text/plain" || part.ContentType == "text/html" {
				// A file that is shown within the text is not a body either.
				part.Disposition = "attachment"
			}
			continue
		}
		if len(part.Content) > room[kind] {
			p.cut[kind] = true
			part.Content = []byte(cutAt(string(part.Content[:room[kind]]), room[kind]-utf8.UTFMax))
		}
		room[kind] = max(0, room[kind]-len(part.Content))
	}
}

func (p *parsed) attach(part *enmime.Part) {
	if len(p.attachments) == p.want {
		p.wanted = part.Content
	}
	sum := sha256.Sum256(part.Content)
	p.attachments = append(p.attachments, email.Attachment{
		Filename:    p.limit("attachments", text(part.FileName), maxNameBytes),
		ContentType: p.limit("attachments", text(part.ContentType), maxNameBytes),
		Size:        int64(len(part.Content)),
		SHA256:      hex.EncodeToString(sum[:]),
		ContentID:   p.limit("attachments", text(part.ContentID), maxIDBytes),
		Inline:      part.Disposition == "inline" || part.Disposition == "" && part.ContentID != "",
	})
}

// source feeds the parser and ends the mail early if it exceeds a limit: the parser
// then returns what it has read.
type source struct {
	ctx        context.Context //nolint:containedctx // a Reader has no other way to end
	r          io.Reader
	p          *parsed
	boundaries [][]byte
	parts      int
}

func (s *source) Read(b []byte) (int, error) {
	if s.ctx.Err() != nil {
		s.p.mark("parsing took too long")
		return 0, io.EOF
	}
	if s.parts > maxParts {
		s.p.mark(fmt.Sprintf("there are over %d parts", maxParts))
		return 0, io.EOF
	}
	n, err := s.r.Read(b)
	// A delimiter that spans two reads is not counted; the limit allows for that.
	for _, d := range s.boundaries {
		s.parts += bytes.Count(b[:n], d)
	}
	return n, err
}

// mediaType reads a Content-Type or Content-Disposition, and bounds how many
// boundaries are searched for.
func (s *source) mediaType(v string) (mtype string, params map[string]string, invalid []string, err error) {
	if len(v) > maxMediaType {
		s.p.mark("a Content-Type is too long")
		return "application/octet-stream", map[string]string{}, nil, nil
	}
	mtype, params, invalid, err = mediatype.ParseWithOptions(v, mediatype.ParseOptions{StripMediaTypeInvalidCharacters: true})
	if err != nil {
		if strings.Contains(v, "/") {
			s.p.mark("a Content-Type is malformed")
			return "text/plain", map[string]string{}, nil, nil // RFC 2045, 5.2
		}
		return mtype, params, invalid, err
	}
	// ASCII is UTF-8. Other bytes are decoded later, by [text].
	if c := strings.ToLower(params["charset"]); c == "us-ascii" || c == "ascii" {
		params["charset"] = "utf-8"
	}
	if b, ok := params["boundary"]; ok && b != "" && !s.watch(b) {
		s.p.mark(fmt.Sprintf("there are over %d boundaries", maxBoundaries))
		delete(params, "boundary")
		mtype = "application/octet-stream"
	}
	return mtype, params, invalid, nil
}

// watch counts the boundary's delimiters from now on; false if there are too many
// boundaries.
func (s *source) watch(boundary string) bool {
	d := []byte("--" + boundary)
	if slices.ContainsFunc(s.boundaries, func(have []byte) bool { return bytes.Equal(have, d) }) {
		return true
	}
	if len(s.boundaries) >= maxBoundaries {
		return false
	}
	s.boundaries = append(s.boundaries, d)
	return true
}
