package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// dataReader reads the content of a mail after DATA. The content is a list of lines, each ending in CRLF. A
// line that is a single dot ends the mail; any other line loses a leading dot (RFC 5321, section 4.5.2). CR and
// LF alone are content. The reader consumes nothing behind the end.
type dataReader struct {
	r     *bufio.Reader
	state dataState
}

type dataState int

const (
	atLineStart dataState = iota
	afterDot              // a dot at the start of a line, withheld
	afterDotCR            // such a dot and a CR, withheld
	inLine
	afterCR
	atEnd
)

// Read returns io.EOF after the end of the mail, and io.ErrUnexpectedEOF if the connection ends before.
func (d *dataReader) Read(p []byte) (int, error) {
	for n := 0; len(p) > 0; {
		if d.state == atEnd {
			return n, io.EOF
		}
		if n > 0 && (n == len(p) || d.r.Buffered() == 0) {
			return n, nil
		}
		if _, err := d.r.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		in, _ := d.r.Peek(d.r.Buffered()) // what is buffered can be read
		used, made := d.step(p[n:], in)
		_, _ = d.r.Discard(used)
		n += made
	}
	return 0, nil
}

// step reads the start of in and writes what is content to out. It returns how much it has read and written,
// at least one byte of either. Both must not be empty.
func (d *dataReader) step(out, in []byte) (used, made int) {
	c := in[0]
	switch {
	case d.state == atLineStart && c == '.':
		d.state = afterDot
		return 1, 0
	case d.state == afterDot && c == '\r':
		d.state = afterDotCR
		return 1, 0
	case d.state == afterDotCR && c == '\n':
		d.state = atEnd
		return 1, 0
	case d.state == afterDotCR:
		// The line has more than the dot, so its CR is content. The next step reads c.
		out[0], d.state = '\r', afterCR
		return 0, 1
	case c == '\r':
		d.state = afterCR
	case d.state == afterCR && c == '\n':
		d.state = atLineStart
	default:
		d.state = inLine
		line := in
		if cr := bytes.IndexByte(in, '\r'); cr >= 0 {
			line = in[:cr]
		}
		made = copy(out, line)
		return made, made
	}
	out[0] = c
	return 1, 1
}
