package mailparse

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxHTMLQuote is how deep quotations are marked with ">".
const maxHTMLQuote = 10

// htmlToText makes text of HTML, as a mail program shows it: blocks become lines, lists get marks, quotations get ">",
// and a link's address follows its text. It reads tokens one by one and builds no tree, so its work grows with the size
// alone.
func htmlToText(b *budget, source string) string {
	w := &htmlWriter{}
	z := html.NewTokenizer(strings.NewReader(source))
	for {
		kind := z.Next()
		if kind == html.ErrorToken || !b.spend(3*len(z.Raw())+1) {
			return w.String()
		}
		w.token(kind, z)
	}
}

// htmlWriter lays out text. It writes line breaks only before text, so that blocks within blocks make one break.
type htmlWriter struct {
	out    strings.Builder
	breaks int  // that come before the next text: 1 ends the line, 2 adds a blank line
	space  bool // comes before the next text in the line
	inLine bool // the line has text
	quote  int
	before int // quote of the last line
	pre    int
	lists  []int // the next number of each open list, 0 for one without numbers
	hidden skipped
	link   string // of the open link
	linkAt int    // where its text began
}

// skipped is an element whose content is not shown.
type skipped struct {
	name  string
	depth int
}

func (w *htmlWriter) String() string {
	return strings.TrimSpace(w.out.String())
}

func (w *htmlWriter) token(kind html.TokenType, z *html.Tokenizer) {
	switch kind {
	case html.TextToken:
		if w.hidden.depth == 0 {
			w.text(string(z.Text()))
		}
	case html.StartTagToken, html.SelfClosingTagToken:
		name, more := z.TagName()
		attrs := readAttributes(z, more)
		w.start(string(name), attrs, kind == html.SelfClosingTagToken)
	case html.EndTagToken:
		name, _ := z.TagName()
		w.end(string(name))
	}
}

// attributes are those of an element that matter here.
type attributes map[string]string

// maxAttributes is how many attributes of an element are read.
const maxAttributes = 50

func readAttributes(z *html.Tokenizer, more bool) attributes {
	var a attributes
	for n := 0; more && n < maxAttributes; n++ {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch k := string(key); k {
		case "style", "class", "id", "href", "alt", "type", "hidden", "name", "start", "data-marker", "title":
			if a == nil {
				a = attributes{}
			}
			if _, ok := a[k]; !ok {
				a[k] = string(value)
			}
		}
	}
	return a
}

// hides reports whether an element is not shown.
func hides(name atom.Atom, a attributes) bool {
	switch name {
	case atom.Head, atom.Style, atom.Script, atom.Title, atom.Template, atom.Iframe, atom.Noembed, atom.Noframes, atom.Object, atom.Select, atom.Svg, atom.Math:
		return true
	}
	if _, ok := a["hidden"]; ok {
		return true
	}
	if style := a["style"]; style != "" {
		style = strings.ToLower(strings.Join(strings.Fields(style), ""))
		return strings.Contains(style, "display:none") || strings.Contains(style, "visibility:hidden")
	}
	return false
}

// void elements have no content.
func void(a atom.Atom) bool {
	switch a {
	case atom.Area, atom.Base, atom.Br, atom.Col, atom.Embed, atom.Hr, atom.Img, atom.Input, atom.Link, atom.Meta, atom.Param, atom.Source, atom.Track, atom.Wbr:
		return true
	}
	return false
}

func (w *htmlWriter) start(name string, a attributes, closed bool) {
	tag := atom.Lookup([]byte(name))
	if w.hidden.depth > 0 {
		if tag == atom.Body && w.hidden.name == "head" {
			w.hidden = skipped{} // the head was not closed
		} else if name == w.hidden.name && !closed {
			w.hidden.depth++
		}
		return
	}
	if hides(tag, a) {
		if !void(tag) && !closed {
			w.hidden = skipped{name, 1}
		}
		return
	}
	switch tag {
	case atom.Br:
		w.lineBreak()
	case atom.Img:
		if alt := strings.TrimSpace(a["alt"]); alt != "" {
			w.text("[" + alt + "]")
		}
	case atom.A:
		w.link, w.linkAt = a["href"], w.out.Len()
	case atom.Li:
		w.item()
	case atom.Ul, atom.Ol:
		w.list(tag, a)
	case atom.Blockquote:
		w.block(2)
		w.quote++
	case atom.Pre:
		w.block(2)
		w.pre++
	case atom.Td, atom.Th:
		w.space = w.space || w.inLine
	default:
		w.block(blocks[tag])
	}
}

// blocks are the elements that begin and end lines: with 2, a blank line stands around them.
var blocks = map[atom.Atom]int{
	atom.P: 2, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Hr: 2, atom.Table: 2, atom.Dl: 2,
	atom.Div: 1, atom.Tr: 1, atom.Dt: 1, atom.Dd: 1, atom.Section: 1, atom.Article: 1, atom.Header: 1, atom.Footer: 1, atom.Main: 1,
	atom.Nav: 1, atom.Aside: 1, atom.Address: 1, atom.Center: 1, atom.Form: 1, atom.Fieldset: 1, atom.Caption: 1, atom.Figure: 1,
	atom.Body: 1, atom.Html: 1, atom.Thead: 1, atom.Tbody: 1, atom.Tfoot: 1,
}

func (w *htmlWriter) end(name string) {
	if w.hidden.depth > 0 {
		if name == w.hidden.name {
			w.hidden.depth--
		}
		return
	}
	switch tag := atom.Lookup([]byte(name)); tag {
	case atom.A:
		w.endLink()
	case atom.Ul, atom.Ol:
		if n := len(w.lists); n > 0 {
			w.lists = w.lists[:n-1]
		}
		w.block(1)
		if len(w.lists) == 0 {
			w.block(2)
		}
	case atom.Li:
		w.block(1)
	case atom.Blockquote:
		w.block(2)
		w.quote = max(0, w.quote-1)
	case atom.Pre:
		w.block(2)
		w.pre = max(0, w.pre-1)
	case atom.Br:
		w.lineBreak()
	case atom.P:
		w.block(2)
	default:
		w.block(blocks[tag])
	}
}

// block ends the line, with a blank line behind it for n of 2.
func (w *htmlWriter) block(n int) {
	if n == 0 {
		return
	}
	w.breaks = max(w.breaks, n)
	w.space = false
	w.inLine = false
}

// maxBreaks is how many line breaks stand between two texts.
const maxBreaks = 3

func (w *htmlWriter) lineBreak() {
	if w.inLine || w.breaks == 0 {
		w.breaks = 1
	} else {
		w.breaks = min(w.breaks+1, maxBreaks)
	}
	w.space, w.inLine = false, false
}

// maxLists is how deep lists are told apart.
const maxLists = 8

func (w *htmlWriter) list(tag atom.Atom, a attributes) {
	w.block(1)
	if len(w.lists) == 0 {
		w.block(2)
	}
	next := 0
	if tag == atom.Ol {
		next = 1
		if n, err := strconv.Atoi(a["start"]); err == nil && n > 0 && n < 1_000_000 {
			next = n
		}
	}
	if len(w.lists) < maxLists {
		w.lists = append(w.lists, next)
	}
}

func (w *htmlWriter) item() {
	w.block(1)
	n := len(w.lists) - 1
	mark := "- "
	if n >= 0 && w.lists[n] > 0 {
		mark = strconv.Itoa(w.lists[n]) + ". "
		w.lists[n]++
	}
	w.write(strings.Repeat("  ", max(0, n)) + mark)
	w.space = false
}

// endLink writes the address of a link behind its text, unless the text is the address.
func (w *htmlWriter) endLink() {
	link, at := strings.TrimSpace(w.link), w.linkAt
	w.link = ""
	lower := strings.ToLower(link)
	if !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://") && !strings.HasPrefix(lower, "mailto:") {
		return
	}
	shown := strings.TrimSpace(w.out.String()[min(at, w.out.Len()):])
	bare := func(v string) string {
		for _, p := range []string{"mailto:", "https://", "http://", "www."} {
			v = strings.TrimPrefix(v, p)
		}
		return strings.TrimSuffix(v, "/")
	}
	if shown == "" || bare(strings.ToLower(shown)) == bare(lower) {
		return
	}
	w.space = true
	w.text("<" + strings.Join(strings.Fields(link), "") + ">")
}

// text writes text with its white space collapsed, or as it is in preformatted text.
func (w *htmlWriter) text(s string) {
	if w.pre > 0 {
		for i, line := range strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
			if i > 0 {
				w.lineBreak()
			}
			if line != "" {
				w.write(line)
			}
		}
		return
	}
	start := -1
	for i, r := range s {
		invisible := r == '\u200b' || r == '\ufeff' || r == '\u00ad' || r == '\u034f'
		space := unicode.IsSpace(r)
		if !space && !invisible {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			w.write(s[start:i])
			start = -1
		}
		w.space = w.space || space && w.inLine
	}
	if start >= 0 {
		w.write(s[start:])
	}
}

// write writes a piece of a line, with what comes before it. It writes no more than a body may have, because marks and
// addresses can make the text longer than the HTML.
func (w *htmlWriter) write(s string) {
	if w.out.Len() > MaxBody {
		return
	}
	mark := strings.Repeat(">", min(w.quote, maxHTMLQuote))
	switch {
	case w.out.Len() == 0 && mark != "":
		w.out.WriteString(mark + " ")
	case w.out.Len() > 0 && w.breaks > 0:
		for n := range w.breaks {
			w.out.WriteByte('\n')
			if n < w.breaks-1 {
				w.out.WriteString(mark[:min(len(mark), w.before)])
			}
		}
		if mark != "" {
			w.out.WriteString(mark + " ")
		}
	case w.space:
		w.out.WriteByte(' ')
	}
	w.breaks, w.space, w.inLine, w.before = 0, false, true, w.quote
	w.out.WriteString(s)
}
