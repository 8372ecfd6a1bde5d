package mailparse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/net/html/charset"
)

// Attachment is a part of a mail that is not shown in its text, decoded.
type Attachment struct {
	Filename    string // as the sender gave it, "" for none: nothing to trust as a path
	ContentType string // without parameters, as the sender claims
	ContentID   string // without angle brackets, "" for none
	Inline      bool   // shown within the text
	Size        int64  // of the content, in bytes
	SHA256      string // of the content, in hex
	Parts       []Part // of an attached mail, at most 100; nil for other files
}

// Part is a part of an attached mail: a text or a file, at whatever depth.
type Part struct {
	Filename    string
	ContentType string
	Size        int64 // of the content, in bytes
}

// maxInner is the size up to which an encoded mail is decoded to list its parts, in bytes.
const maxInner = 4 << 20

// maxListed is how many parts of an attached mail are listed.
const maxListed = 100

// reader reads the contents of a mail's parts.
type reader struct {
	b           *budget
	attachments []Attachment
	much        extent
	want        int    // the attachment whose content is kept, -1 for none
	wanted      []byte // its content
}

// attach reads an attachment.
func (r *reader) attach(p *part) {
	d, known := transferDecoder(p.encoding)
	if !known {
		r.b.mark(fmt.Sprintf("the Content-Transfer-Encoding %q is unknown", Cut(p.encoding, 40)))
	}
	if p.message || p.multipart() {
		d = identity{}
	}
	a := Attachment{
		Filename: Text(p.name()), ContentType: p.kind.value, ContentID: Text(bareID(p.header.Get("Content-ID"))),
	}
	if !p.typed && a.ContentType == "text/plain" {
		a.ContentType = "application/octet-stream"
	}
	a.Inline = p.disposition.value == "inline" || p.disposition.value == "" && a.ContentID != ""
	keep := len(r.attachments) == r.want
	content := p.content
	if _, ok := d.(*base64Decoder); ok {
		content, _ = splitFooter(d, content)
	}
	if len(content) < len(p.content) {
		r.b.mark("behind the content of an attachment stands a text that is not encoded")
	}
	encoded := p.isMail() && !p.message // its parts were not found by the scan
	var inner []byte
	sum := sha256.New()
	decodeTransfer(r.b, d, content, func(piece []byte) bool {
		sum.Write(piece)
		a.Size += int64(len(piece))
		if keep {
			r.wanted = append(r.wanted, piece...)
		}
		if encoded && len(inner) < maxInner {
			inner = append(inner, piece...)
		}
		return r.b.spend(2 * len(piece))
	})
	if d.broken() {
		r.b.mark("the content of an attachment is no valid " + strings.ToLower(strings.TrimSpace(p.encoding)))
	}
	if uu, ok := d.(*uuDecoder); ok && a.Filename == "" {
		a.Filename = Text(uu.name)
	}
	a.SHA256 = hex.EncodeToString(sum.Sum(nil))
	switch {
	case p.message:
		a.Parts = r.listParts(nil, p.children)
	case encoded && len(inner) < maxInner:
		s := SplitMail(inner)
		a.Parts = r.listParts(nil, []*part{scan(r.b, inner, len(inner)-len(s.Body), s.Header)})
	}
	r.attachments = append(r.attachments, a)
}

// listParts lists the parts that have no parts.
func (r *reader) listParts(list []Part, parts []*part) []Part {
	for _, p := range parts {
		if len(list) == maxListed {
			break
		}
		if len(p.children) > 0 {
			list = r.listParts(list, p.children)
			continue
		}
		d, _ := transferDecoder(p.encoding)
		one := Part{Filename: Text(p.name()), ContentType: p.kind.value}
		decodeTransfer(r.b, d, p.content, func(piece []byte) bool {
			one.Size += int64(len(piece))
			return true
		})
		list = append(list, one)
	}
	return list
}

// attachFile adds a file that was found in a text.
func (r *reader) attachFile(name string, content []byte) {
	if len(r.attachments) == r.want {
		r.wanted = content
	}
	sum := sha256.Sum256(content)
	r.attachments = append(r.attachments, Attachment{
		Filename: DecodeWords(name), ContentType: "application/octet-stream", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]),
	})
}

// body is the text of a shown part, at most room bytes before the charset is decoded. cut means that there is more.
func (r *reader) body(p *part, room int) (s string, cut bool) {
	d, known := transferDecoder(p.encoding)
	if !known {
		r.b.mark(fmt.Sprintf("the Content-Transfer-Encoding %q is unknown", Cut(p.encoding, 40)))
	}
	if p.multipart() {
		d = identity{}
	}
	var raw []byte
	content, footer := splitFooter(d, p.content)
	decodeTransfer(r.b, d, content, func(piece []byte) bool {
		raw = append(raw, piece...)
		cut = len(raw) > room
		return !cut
	})
	if cut {
		raw = raw[:room]
		// A multi-byte character must not be cut in two.
		if i := bytes.LastIndexByte(raw, '\n'); i > room/2 {
			raw = raw[:i+1]
		}
	}
	if d.broken() {
		r.b.mark("the text is no valid " + strings.ToLower(strings.TrimSpace(p.encoding)))
	}
	if b, ok := d.(*base64Decoder); ok && (b.strays > len(raw)/10+3 || neverEncoded(p.content)) {
		raw, footer = p.content[:min(len(p.content), room)], nil // it was not encoded at all
	}
	if !r.b.spend(8 * len(raw)) {
		return "", true
	}
	label := p.kind.params["charset"]
	if p.isHTML() && noCharset[strings.ToLower(strings.TrimSpace(label))] {
		if _, name, certain := charset.DetermineEncoding(raw[:min(len(raw), 1024)], ""); certain || name != "windows-1252" {
			label = name
		}
	}
	s, known = decodeCharset(raw, label)
	if !known {
		r.b.mark(fmt.Sprintf("the charset %q is unknown", Cut(label, 40)))
	}
	if len(footer) > 0 && !cut && r.b.spend(8*len(footer)) {
		end, _ := decodeCharset(footer, label)
		s = withFooter(s, end, p.isHTML())
	}
	s = Text(s)
	if !p.isHTML() && strings.EqualFold(strings.TrimSpace(p.kind.params["format"]), "flowed") && r.b.spend(2*len(s)) {
		s = unflow(s, strings.EqualFold(strings.TrimSpace(p.kind.params["delsp"]), "yes"))
	}
	return s, cut
}

// extractFiles takes the files out of a text that are uuencoded in it, as was done before MIME. It leaves what only
// looks like one.
func (r *reader) extractFiles(p *part) {
	if d, _ := transferDecoder(p.encoding); d != (identity{}) || p.isHTML() || !bytes.Contains(p.content, []byte("begin ")) {
		return
	}
	var kept []byte
	found := false
	rest := p.content
	for len(rest) > 0 {
		line, next := cutLine(rest)
		if !r.b.spend(len(rest) - len(next)) {
			return
		}
		if name, ok := uuBegin(line); ok {
			if content, after, ok := r.file(next); ok {
				r.attachFile(name, content)
				rest, found = after, true
				continue
			}
		}
		kept = append(kept, rest[:len(rest)-len(next)]...)
		rest = next
	}
	if found {
		p.content = kept
	}
}

// file reads the lines of a uuencoded file up to its end.
func (r *reader) file(rest []byte) (content, after []byte, ok bool) {
	for len(rest) > 0 {
		line, next := cutLine(rest)
		if !r.b.spend(len(rest) - len(next)) {
			return nil, nil, false
		}
		rest = next
		if string(bytes.TrimSpace(line)) == "end" {
			return content, rest, true
		}
		if len(line) == 0 {
			continue
		}
		if content, ok = uuLine(content, line); !ok {
			return nil, nil, false
		}
	}
	return nil, nil, false
}
