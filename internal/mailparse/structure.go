package mailparse

import (
	"bytes"
	"fmt"
	"strings"
)

// part is a node of a mail's structure. Its content aliases the raw mail.
type part struct {
	header      Header
	kind        mediaField // Content-Type; its value is never empty
	typed       bool       // there was a Content-Type
	disposition mediaField
	encoding    string
	content     []byte
	children    []*part
	message     bool // a mail as a part: its only child is that mail

	start    int // where the content begins
	boundary string
	shadowed int // the open part that had the same boundary before, -1 for none
	closed   bool
}

func (p *part) multipart() bool { return strings.HasPrefix(p.kind.value, "multipart/") }

func (p *part) isMail() bool {
	return p.kind.value == "message/rfc822" || p.kind.value == "message/global" || p.kind.value == "message/news"
}

// scanner finds the parts of a mail in one pass over its lines. A line is compared with all open boundaries by one
// lookup, so nesting does not add work: a mail of n bytes takes some n steps, however its parts are nested or left
// open.
type scanner struct {
	raw    []byte
	b      *budget
	open   []*part        // the parts that have parts, the outermost first
	delims map[string]int // boundary → the innermost open part that has it
	parts  int
	full   bool // no more parts are read

	cur         *part // whose header or content is being read; nil between parts
	inHeader    bool
	headerStart int
	headerBytes int // of all parts
}

// scan reads the structure of a mail whose header has been read. The content begins at start.
func scan(b *budget, raw []byte, start int, header Header) *part {
	s := &scanner{raw: raw, b: b, delims: map[string]int{}}
	root := &part{header: header}
	s.cur = root
	s.begin(start, "")
	pos := start
	for pos < len(raw) && !s.full {
		end := len(raw)
		if i := bytes.IndexByte(raw[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if !b.spend(end - pos) {
			break
		}
		s.line(pos, end)
		pos = end
	}
	s.closeAll(pos)
	return root
}

// line reads one line, which ends before end.
func (s *scanner) line(pos, end int) {
	if len(s.open) > 0 && bytes.HasPrefix(s.raw[pos:end], []byte("--")) && end-pos < maxBoundary+16 {
		name := bytes.TrimRight(s.raw[pos+2:end], " \t\r\n")
		if at, ok := s.delims[string(name)]; ok {
			s.delimiter(at, pos, end, false)
			return
		}
		if name, ok := bytes.CutSuffix(name, []byte("--")); ok {
			if at, ok := s.delims[string(name)]; ok {
				s.delimiter(at, pos, end, true)
				return
			}
		}
	}
	if s.cur == nil || !s.inHeader {
		return
	}
	line := bytes.TrimRight(s.raw[pos:end], "\r\n")
	name, _, ok := bytes.Cut(line, []byte{':'})
	field := ok && isFieldName(bytes.TrimRight(name, " \t"))
	switch {
	case len(line) == 0:
		s.endHeader(pos, end)
	case pos == s.headerStart && !field && !isPostmark(line):
		s.endHeader(pos, pos) // the blank line before the content is missing
	case end-s.headerStart > maxPartHeader || s.headerBytes+end-s.headerStart > maxPartHeaders:
		s.b.mark(fmt.Sprintf("the header of a part has over %d bytes, or those of all parts over %d", maxPartHeader, maxPartHeaders))
		s.endHeader(pos, pos)
	}
}

// delimiter ends the parts within the open part number at, and begins its next one.
func (s *scanner) delimiter(at, pos, end int, last bool) {
	s.endContent(pos)
	for len(s.open) > at+1 {
		s.close(pos)
	}
	if last {
		s.open[at].closed = true
		s.close(pos)
		s.cur = nil
		return
	}
	s.add(s.open[at], end)
}

// add begins a part at pos, with its header.
func (s *scanner) add(parent *part, pos int) {
	if s.parts++; s.parts > maxParts {
		s.b.mark(fmt.Sprintf("there are over %d parts", maxParts))
		s.full, s.cur = true, nil
		return
	}
	s.cur = &part{}
	parent.children = append(parent.children, s.cur)
	s.inHeader, s.headerStart = true, pos
}

// endHeader reads the header of the current part. Its content begins at start.
func (s *scanner) endHeader(end, start int) {
	s.headerBytes += end - s.headerStart
	if !s.b.spend(3 * (end - s.headerStart)) {
		return
	}
	h := split(s.raw[s.headerStart:end], maxPartHeader)
	s.cur.header = h.Header
	standard := ""
	if parent := s.open[len(s.open)-1]; parent.kind.value == "multipart/digest" {
		standard = "message/rfc822"
	}
	s.begin(start, standard)
}

// begin reads the type of the current part, and opens it if it has parts. standard is its type where it names none.
func (s *scanner) begin(start int, standard string) {
	p := s.cur
	s.inHeader = false
	p.start = start
	p.readType(standard)
	switch {
	case p.multipart():
		s.openMultipart(p)
	case p.isMail():
		// An encoded mail is read when it is listed.
		if d, _ := transferDecoder(p.encoding); d == (identity{}) && s.room() {
			p.message = true
			p.shadowed = -1
			s.open = append(s.open, p)
			s.add(p, start)
		}
	}
}

// readType reads what the header says about the content.
func (p *part) readType(standard string) {
	v := p.header.Get("Content-Type")
	p.typed = strings.TrimSpace(v) != ""
	p.kind = parseMediaField(v, "")
	switch kind, of, ok := strings.Cut(p.kind.value, "/"); {
	case ok && kind != "" && of != "":
	case standard != "":
		p.kind.value = standard
	case p.kind.value == "html":
		p.kind.value = "text/html"
	default:
		p.kind.value = "text/plain" // RFC 2045, 5.2
	}
	if v := p.header.Get("Content-Disposition"); v != "" {
		p.disposition = parseMediaField(v, p.kind.params["charset"])
		if strings.Contains(p.disposition.value, "=") {
			p.disposition = parseMediaField("attachment;"+v, "") // parameters without a value before them
		}
	}
	p.encoding = p.header.Get("Content-Transfer-Encoding")
}

func (s *scanner) room() bool {
	if len(s.open) >= maxDepth {
		s.b.mark(fmt.Sprintf("the parts are nested over %d deep", maxDepth))
		return false
	}
	return true
}

// openMultipart waits for the parts of p. Without a boundary, or too deep, it stays a part with content.
func (s *scanner) openMultipart(p *part) {
	p.boundary = strings.TrimRight(p.kind.raw["boundary"], " \t")
	if p.boundary == "" {
		p.boundary = strings.TrimRight(p.kind.params["boundary"], " \t")
	}
	if p.boundary == "" {
		p.boundary = s.firstDelimiter(p.start)
	}
	if p.boundary == "" || len(p.boundary) > maxBoundary {
		s.b.mark("there is nothing between the boundaries of a multipart: it names no boundary, or one that is too long")
		return
	}
	if !s.room() {
		return
	}
	p.shadowed = -1
	if before, ok := s.delims[p.boundary]; ok {
		p.shadowed = before
	}
	s.delims[p.boundary] = len(s.open)
	s.open = append(s.open, p)
	s.cur = nil
}

// firstDelimiter is the boundary of a multipart that names none: its content begins with it.
func (s *scanner) firstDelimiter(pos int) string {
	rest := bytes.TrimLeft(s.raw[pos:min(len(s.raw), pos+maxBoundary)], "\r\n")
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	name, ok := bytes.CutPrefix(bytes.TrimRight(line, " \t\r"), []byte("--"))
	if !ok {
		return ""
	}
	return string(name)
}

// endContent ends the part that is being read. The line break before a boundary belongs to the boundary.
func (s *scanner) endContent(pos int) {
	if s.cur == nil {
		return
	}
	if s.inHeader {
		s.endHeader(pos, pos)
		if s.cur == nil || s.inHeader {
			return // it has parts, of which none has begun
		}
	}
	s.cur.content = s.raw[s.cur.start:max(s.cur.start, s.trimBreak(pos))]
	s.cur = nil
}

func (s *scanner) trimBreak(pos int) int {
	if pos < len(s.raw) || s.full {
		if pos > 0 && s.raw[pos-1] == '\n' {
			pos--
			if pos > 0 && s.raw[pos-1] == '\r' {
				pos--
			}
		}
	}
	return pos
}

// close ends the innermost open part.
func (s *scanner) close(pos int) {
	n := len(s.open) - 1
	p := s.open[n]
	s.open = s.open[:n]
	p.content = s.raw[p.start:max(p.start, s.trimBreak(pos))]
	if p.message {
		return
	}
	if p.shadowed >= 0 {
		s.delims[p.boundary] = p.shadowed
	} else {
		delete(s.delims, p.boundary)
	}
	switch {
	case len(p.children) == 0:
		s.b.mark("there is nothing between the boundaries of a multipart")
	case !p.closed:
		s.b.mark("Boundary missing: a multipart has no end")
	}
}

func (s *scanner) closeAll(pos int) {
	s.endContent(pos)
	for len(s.open) > 0 {
		s.close(pos)
	}
}
