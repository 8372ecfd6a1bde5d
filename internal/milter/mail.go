package milter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of the header of a mail that milters are asked about.
const (
	// MaxHeaderBytes is the most bytes of a header.
	MaxHeaderBytes = 256 << 10
	// MaxHeaderFields is the most lines that are fields, or are none.
	MaxHeaderFields = 5000
	// maxValue is the most bytes of the value of a field from a milter.
	maxValue = 64 << 10
)

// ErrHeader is returned for a mail whose header exceeds the limits. It can't be asked about: a milter must see what the
// agents see.
var ErrHeader = fmt.Errorf("the header has over %d bytes or %d fields", MaxHeaderBytes, MaxHeaderFields)

// Store takes a new body and returns it.
type Store interface {
	io.Writer
	io.ReaderAt
	// Close frees what it holds.
	Close()
}

// field is a header field, or a line of the header that is none.
type field struct {
	name string // "" for a line that is no field
	raw  []byte // all of it, with folds and its line end
}

// value is what follows the colon, without the last line end. Lines end in LF, as milters expect.
func (f *field) value() string {
	_, v, _ := bytes.Cut(f.raw, []byte{':'})
	v = bytes.TrimSuffix(bytes.TrimSuffix(v, []byte{'\n'}), []byte{'\r'})
	return string(bytes.ReplaceAll(v, []byte("\r\n"), []byte{'\n'}))
}

// Mail is a mail on its way through the milters. The header is in memory. The rest stays where it was received.
type Mail struct {
	fields []*field
	blank  []byte // the line between header and body; empty if there is none
	body   *io.SectionReader
	stores []Store // of bodies that milters have put in the place of others
}

// Close frees the bodies that milters have put in the place of others.
func (m *Mail) Close() {
	for _, s := range m.stores {
		s.Close()
	}
}

// Open reads the header of a mail of size bytes. It returns [ErrHeader] for a header over the limits, or an error of r.
func Open(r io.ReaderAt, size int64) (*Mail, error) {
	head := make([]byte, min(size, MaxHeaderBytes))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(len(head))), head); err != nil {
		return nil, fmt.Errorf("read the header of a mail: %w", err)
	}
	m := &Mail{}
	rest := head
	for len(rest) > 0 {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		line := rest[:n]
		if n == len(rest) && int64(len(head)) < size {
			return nil, ErrHeader // the line may go on
		}
		rest = rest[n:]
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
		if len(text) == 0 && bytes.HasSuffix(line, []byte{'\n'}) {
			m.blank = line
			break
		}
		if last := len(m.fields) - 1; last >= 0 && (line[0] == ' ' || line[0] == '\t') {
			old := m.fields[last].raw
			m.fields[last].raw = old[:len(old)+n] // both are adjacent in head
			continue
		}
		if len(m.fields) == MaxHeaderFields {
			return nil, ErrHeader
		}
		m.fields = append(m.fields, &field{name: fieldName(line), raw: line})
	}
	if len(m.blank) == 0 && int64(len(head)) < size {
		return nil, ErrHeader
	}
	at := int64(len(head) - len(rest))
	m.body = io.NewSectionReader(r, at, size-at)
	return m, nil
}

// fieldName returns the name of a field; "" for a line that is none.
func fieldName(line []byte) string {
	name, _, ok := bytes.Cut(line, []byte{':'})
	if name = bytes.TrimRight(name, " \t"); !ok || !isFieldName(string(name)) {
		return ""
	}
	return string(name)
}

func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// Size is the length of the mail in bytes.
func (m *Mail) Size() int64 {
	n := int64(len(m.blank)) + m.body.Size()
	for _, f := range m.fields {
		n += int64(len(f.raw))
	}
	return n
}

// Bytes returns the whole mail.
func (m *Mail) Bytes() ([]byte, error) {
	out := make([]byte, m.Size())
	if _, err := io.ReadFull(m.Reader(), out); err != nil {
		return nil, fmt.Errorf("read a mail: %w", err)
	}
	return out, nil
}

// Reader reads the whole mail. Its body is not read into memory.
func (m *Mail) Reader() io.Reader {
	var head bytes.Buffer
	for _, f := range m.fields {
		head.Write(f.raw)
	}
	head.Write(m.blank)
	return io.MultiReader(&head, io.NewSectionReader(m.body, 0, m.body.Size()))
}

// distrust renames the fields of a name, so that only those that milters add have it. It reports whether there were any.
func (m *Mail) distrust(name string) (found bool) {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			rest := f.raw[bytes.IndexByte(f.raw, ':'):]
			f.name = name + "-Original"
			f.raw = append([]byte(f.name), rest...)
			found = true
		}
	}
	return found
}

// insert puts a field behind the first n fields, or at the end if there are fewer.
func (m *Mail) insert(n int, f *field) {
	at := len(m.fields)
	for i, have := range m.fields {
		if have.name == "" {
			continue
		}
		if n == 0 {
			at = i
			break
		}
		n--
	}
	if at > 0 { // the last line of a mail without a body may have no end
		if last := m.fields[at-1]; !bytes.HasSuffix(last.raw, []byte{'\n'}) {
			last.raw = append(bytes.Clone(last.raw), "\r\n"...)
		}
	}
	m.fields = slices.Insert(m.fields, at, f)
}

// change puts f in the place of the nth field of its name, from 1, or at the end if there are fewer. remove takes the
// field away instead.
func (m *Mail) change(n int, f *field, remove bool) {
	for i, have := range m.fields {
		if !strings.EqualFold(have.name, f.name) {
			continue
		}
		if n--; n > 0 {
			continue
		}
		if remove {
			m.fields = slices.Delete(m.fields, i, i+1)
		} else {
			m.fields[i] = f
		}
		return
	}
	if !remove {
		m.insert(len(m.fields), f)
	}
}

// replace puts another body in the place of the mail's.
func (m *Mail) replace(body Store, size int64) {
	m.stores = append(m.stores, body)
	if len(m.blank) == 0 {
		m.blank = []byte("\r\n")
		if n := len(m.fields); n > 0 && !bytes.HasSuffix(m.fields[n-1].raw, []byte{'\n'}) {
			m.fields[n-1].raw = append(bytes.Clone(m.fields[n-1].raw), "\r\n"...)
		}
	}
	m.body = io.NewSectionReader(body, 0, size)
}

// newField makes a field of what a milter sent. A value with a line end that no white space follows would be another
// field, or the end of the header: that is an error. asIs says that the value has its own space after the colon.
func newField(name, value string, asIs bool) (*field, error) {
	switch {
	case !isFieldName(name):
		return nil, fmt.Errorf("the milter sent a header field whose name %.40q is not valid", name)
	case len(value) > maxValue:
		return nil, fmt.Errorf("the milter sent a header field of %d bytes (limit %d)", len(value), maxValue)
	}
	lines := strings.Split(strings.ReplaceAll(value, "\r\n", "\n"), "\n")
	for i, line := range lines {
		switch {
		case strings.ContainsAny(line, "\r\x00"):
			return nil, errors.New("the milter sent a header field with a control character")
		case i > 0 && (line == "" || line[0] != ' ' && line[0] != '\t'):
			return nil, errors.New("the milter sent a header field with a line end that is no fold")
		case i > 0 && strings.Trim(line, " \t") == "":
			return nil, errors.New("the milter sent a header field with an empty line")
		}
	}
	f := &field{name: name}
	f.raw = append(f.raw, name...)
	f.raw = append(f.raw, ':')
	if !asIs {
		f.raw = append(f.raw, ' ')
	}
	f.raw = append(f.raw, strings.Join(lines, "\r\n")...)
	f.raw = append(f.raw, "\r\n"...)
	return f, nil
}
