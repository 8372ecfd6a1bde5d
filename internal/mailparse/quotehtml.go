package mailparse

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// How programs mark a quotation in HTML.
var (
	quoteClasses = []string{
		"gmail_quote", "gmail_quote_container", "yahoo_quoted", "moz-cite-prefix", "moz-forward-container", "protonmail_quote",
		"tutanota_quote", "zmail_extra", "ms-outlook-mobile-reference-message", "hmquote", "mail_quote_collapse",
		"history-quote-wrapper", "sh-quoted-content", "missive_quote",
	}
	quoteIDs = []string{
		"mail-editor-reference-message-container", "ms-outlook-mobile-reference-message", "isforwardcontent", "isreplycontent",
		"original-content", "olk_src_body_section", "reply-intro", "origbody",
	}
	// Everything behind these is quoted.
	dividerIDs     = []string{"divrplyfwdmsg", "appendonsend", "stopspelling", "zwchr"}
	dividerClasses = []string{"outlookmessageheader"}
	// outlookDivider is the style of the line above the copied header.
	outlookDivider = regexp.MustCompile(`^border:none;border-top:solid#?\w+1\.0pt;padding:3\.0pt0`)
)

// quoteMark is what an element says about a quotation.
type quoteMark int

const (
	noQuote  quoteMark = iota
	isQuote            // its content is quoted
	isDivide           // all that follows is quoted
	isFooter           // a signature, which may stand below the quotation
)

func markOf(tag atom.Atom, a attributes) quoteMark {
	if len(a) == 0 {
		return noQuote
	}
	id := strings.TrimPrefix(strings.ToLower(a["id"]), "x_")
	if slices.Contains(dividerIDs, id) || strings.Contains(a["data-marker"], "__DIVIDER__") {
		return isDivide
	}
	if slices.Contains(quoteIDs, id) || a["name"] == "messageReplySection" || tag == atom.Div && a["name"] == "quote" || a["data-marker"] == "__QUOTED_TEXT__" {
		return isQuote
	}
	for class := range strings.FieldsSeq(strings.ToLower(a["class"])) {
		class = strings.TrimPrefix(class, "x_")
		switch {
		case slices.Contains(quoteClasses, class) || strings.HasSuffix(class, "yahoo_quoted"):
			return isQuote
		case slices.Contains(dividerClasses, class):
			return isDivide
		case class == "gmail_signature" || class == "moz-signature":
			return isFooter
		}
	}
	switch {
	case tag == atom.Blockquote && strings.EqualFold(a["type"], "cite"):
		return isQuote
	case tag == atom.Div && outlookDivider.MatchString(strings.ToLower(strings.Join(strings.Fields(a["style"]), ""))):
		return isDivide
	}
	return noQuote
}

// StripQuotationHTML returns HTML without the quoted mail, as mail programs mark it. ok is false if nothing is marked,
// if nothing else is shown, or if the author wrote below it.
func StripQuotationHTML(source string) (reply string, ok bool) {
	return stripHTML(nil, source)
}

// maxOpen is how many open elements are remembered, to close them where the quotation is cut off.
const maxOpen = 256

// htmlStripper reads HTML once, and notes what to leave out.
type htmlStripper struct {
	source string
	kept   strings.Builder
	from   int // where what is not copied yet begins

	open   []openElement
	skip   skipped // the quotation or the hidden element that is being read
	quoted bool    // it is a quotation
	start  int     // where it began

	line        strings.Builder // the last line with text
	judged      bool            // attribution is known of it
	attribution bool
	lineStart   int
	ended       bool // the next text begins a line
	next        int  // where that line begins
	before      bool // there is text above the line
	shown       bool // there is text outside quotations
	found       bool
	below       bool // there is text below a quotation
}

// openElement is an element that begins at a place.
type openElement struct {
	name string
	at   int
}

func stripHTML(b *budget, source string) (reply string, ok bool) {
	s := &htmlStripper{source: source}
	z := html.NewTokenizer(strings.NewReader(source))
	pos := 0
	for !s.below {
		kind := z.Next()
		raw := len(z.Raw())
		if kind == html.ErrorToken || b != nil && !b.spend(3*raw+1) {
			break
		}
		if s.token(kind, z, pos, pos+raw) {
			s.kept.WriteString(source[s.from:s.start])
			for _, e := range slices.Backward(s.open) {
				if e.at < s.start {
					s.kept.WriteString("</" + e.name + ">")
				}
			}
			s.found, s.from = true, len(source)
			break
		}
		pos += raw
	}
	if s.quoted && s.skip.depth > 0 { // the quotation is not closed
		s.kept.WriteString(source[s.from:s.start])
		s.found, s.from = true, len(source)
	}
	if !s.found || s.below || !s.shown {
		return "", false
	}
	s.kept.WriteString(source[s.from:])
	return s.kept.String(), true
}

// token reads a token. It reports whether all that follows is quoted.
func (s *htmlStripper) token(kind html.TokenType, z *html.Tokenizer, pos, end int) bool {
	switch kind {
	case html.TextToken:
		s.text(string(z.Text()), pos)
	case html.StartTagToken, html.SelfClosingTagToken:
		name, more := z.TagName()
		tag := string(name)
		return s.startTag(tag, readAttributes(z, more), kind == html.SelfClosingTagToken, pos, end) || s.separated()
	case html.EndTagToken:
		name, _ := z.TagName()
		s.endTag(string(name), end)
		return s.separated()
	}
	return false
}

// separated reports whether a line has just ended that programs write above all that they quote.
func (s *htmlStripper) separated() bool {
	if !s.ended || s.skip.depth > 0 || s.line.Len() == 0 || s.line.Len() > maxShortLine || s.lineStart < s.from {
		return false
	}
	line := strings.TrimSpace(strings.ReplaceAll(s.line.String(), "\u00a0", " "))
	if !isSeparator(line) && !(hasColon(line) && forwarded.MatchString(line)) {
		return false
	}
	s.start, s.shown = s.lineStart, s.before
	return true
}

func (s *htmlStripper) text(v string, pos int) {
	v = strings.TrimSpace(v)
	if s.skip.depth > 0 || v == "" {
		return
	}
	if s.found {
		s.below = true
		return
	}
	if s.ended || s.line.Len() == 0 {
		if !s.ended {
			s.next = pos
		}
		s.line.Reset()
		s.judged = false
		s.lineStart, s.before, s.ended = s.next, s.shown, false
	}
	s.shown = true
	if s.line.Len() < maxReplyLine {
		s.line.WriteString(v[:min(len(v), maxReplyLine)] + " ")
		s.judged = false
	}
}

// endLine ends the line. The next one begins at pos: at the first element after the text, or behind those that end.
func (s *htmlStripper) endLine(pos int, end bool) {
	if !s.ended || end {
		s.next = pos
	}
	s.ended = true
}

func (s *htmlStripper) startTag(name string, a attributes, closed bool, pos, end int) (rest bool) {
	tag := atom.Lookup([]byte(name))
	if s.skip.depth > 0 {
		if tag == atom.Body && s.skip.name == "head" {
			s.skip = skipped{} // the head was not closed
		} else if name == s.skip.name && !closed && !void(tag) {
			s.skip.depth++
		}
		return false
	}
	mark := markOf(tag, a)
	if mark == noQuote && tag == atom.Blockquote && s.isAttribution() {
		mark = isQuote
	}
	hidden := hides(tag, a)
	if mark == isQuote || mark == isDivide {
		s.start = pos
		if s.isAttribution() && s.lineStart >= s.from {
			s.start, s.shown = s.lineStart, s.before
		}
		if mark == isDivide {
			return true
		}
		s.skip, s.quoted = skipped{name, 1}, true
		return false
	}
	if (hidden || mark == isFooter && s.found) && !closed && !void(tag) {
		s.skip, s.quoted = skipped{name, 1}, false
		return false
	}
	switch {
	case tag == atom.Br:
		s.endLine(end, false)
	case blocks[tag] > 0 || tag == atom.Blockquote:
		s.endLine(pos, false)
	}
	if !closed && !void(tag) && len(s.open) < maxOpen {
		s.open = append(s.open, openElement{name, pos})
	}
	return false
}

// isAttribution reports whether the last line is one. It judges each line once.
func (s *htmlStripper) isAttribution() bool {
	if !s.judged {
		line := strings.TrimSpace(s.line.String())
		s.judged = true
		s.attribution = line != "" && len(line) < maxReplyLine && (isAttribution(line, true) || nameWrote.MatchString(line))
	}
	return s.attribution
}

func (s *htmlStripper) endTag(name string, end int) {
	if s.skip.depth > 0 {
		if name != s.skip.name {
			return
		}
		if s.skip.depth--; s.skip.depth == 0 && s.quoted {
			s.kept.WriteString(s.source[s.from:s.start])
			s.from, s.found = end, true
			s.quoted = false
			s.line.Reset()
			s.judged = false
		}
		return
	}
	if n := len(s.open); n > 0 && s.open[n-1].name == name {
		s.open = s.open[:n-1]
	}
	if tag := atom.Lookup([]byte(name)); blocks[tag] > 0 || tag == atom.Blockquote {
		s.endLine(end, true)
	}
}
