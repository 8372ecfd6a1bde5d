package console

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// Files and frames: what strangers have sent, as it is. No answer of these can run in the console's origin.

// plainly sets the headers of a file that is only ever downloaded.
func plainly(h http.Header, name string) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
}

// download passes an answer of the API on as a file. An error stays in failed.
type download struct {
	http.ResponseWriter
	name   string
	header http.Header // of the API's answer, of which only the length is sent
	failed *recorder
	begun  bool
}

// Header returns the header that the API sets.
func (d *download) Header() http.Header { return d.header }

// WriteHeader begins the file.
func (d *download) WriteHeader(status int) {
	if d.begun {
		return
	}
	d.begun = true
	if status != http.StatusOK {
		d.failed = &recorder{header: d.header, status: status}
		return
	}
	h := d.ResponseWriter.Header()
	plainly(h, d.name)
	if n := d.header.Get("Content-Length"); n != "" {
		h.Set("Content-Length", n)
	}
	d.ResponseWriter.WriteHeader(status)
}

// Write writes the file.
func (d *download) Write(b []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	if d.failed != nil {
		return d.failed.Write(b)
	}
	return d.ResponseWriter.Write(b)
}

// sendFile sends the answer of the API for a path as a download. No part of it is kept in memory.
func (c *call) sendFile(path string, query url.Values, name string) error {
	r, err := c.request(c.r.Context(), http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	d := &download{ResponseWriter: c.w, name: name, header: http.Header{}}
	c.s.api.ServeHTTP(d, r)
	if d.failed != nil {
		return d.failed.problem()
	}
	return errDone
}

// sendBytes sends bytes as a download.
func (c *call) sendBytes(b []byte, name string) error {
	plainly(c.w.Header(), name)
	_, _ = c.w.Write(b)
	return errDone
}

// errEnough ends an answer of which the beginning is enough.
var errEnough = errors.New("the beginning is enough")

// beginning keeps the first bytes of an answer.
type beginning struct {
	recorder
	most int
}

// Write keeps the bytes that are still wanted.
func (b *beginning) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if room := b.most - b.body.Len(); len(p) > room {
		b.body.Write(p[:room])
		return room, errEnough
	}
	return b.body.Write(p)
}

// begin returns the first bytes of an answer of the API that is not JSON, and whether there are more.
func (c *call) begin(path string, most int) (text []byte, more bool, err error) {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	r, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, false, err
	}
	out := &beginning{recorder: recorder{header: http.Header{}}, most: most}
	func() {
		defer func() {
			// So the API ends an answer that can't be written.
			if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a panic's own value
				panic(v)
			}
		}()
		c.s.api.ServeHTTP(stopping{out, cancel}, r)
	}()
	if out.status < 200 || out.status > 299 {
		return nil, false, out.problem()
	}
	return out.body.Bytes(), out.body.Len() == most, nil
}

// stopping ends the request when enough has been read, so that the API does not take the end for a fault.
type stopping struct {
	*beginning
	cancel context.CancelFunc
}

// Write keeps the bytes that are still wanted.
func (s stopping) Write(p []byte) (int, error) {
	n, err := s.beginning.Write(p)
	if err != nil {
		s.cancel()
	}
	return n, err
}

// framePolicy lets a mail's HTML show text and its own colours. It loads nothing, runs nothing, and has no origin.
const framePolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors "

// frameHTML sends a mail's HTML for a frame of the console's own pages.
func (c *call) frameHTML(text string) error {
	h := c.w.Header()
	ancestors := "'self'"
	// A portal's page may itself be in a frame.
	if _, list, ok := strings.Cut(h.Get("Content-Security-Policy"), "frame-ancestors "); ok {
		if list, _, _ = strings.Cut(list, ";"); list != "'none'" {
			ancestors += " " + list
		}
	}
	h.Set("Content-Security-Policy", framePolicy+ancestors)
	h.Del("X-Frame-Options")
	h.Set("X-DNS-Prefetch-Control", "off")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = c.w.Write(bytes.ToValidUTF8([]byte(calm(text)), []byte("\uFFFD")))
	return errDone
}

// fileName is a stranger's name of a file without what a system could take for a path, for a device or for the order
// of the letters.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	if runes := []rune(name); len(runes) > 150 {
		name = string(runes[len(runes)-150:]) // the end has the extension
	}
	return strings.TrimLeft(name, ". ")
}
