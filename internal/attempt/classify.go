package attempt

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/retry"
)

const (
	// responseBytes is how much of an answer's body is kept.
	responseBytes = 1 << 10
	// drainBytes is how much of the body is read and thrown away after that, so
	// that the connection can be reused.
	drainBytes = 8 << 10
	// codedBytes is how much of a compressed body is read to decode its beginning.
	codedBytes = 8 << 10
	// trimBytes is how much the headers of an answer may take while its body is read.
	trimBytes = 16 << 10
)

// Classify sets Delivered, StatusCode, Reason, Error and RetryAfter by the
// answer's status code and its Retry-After header. now turns a date in that
// header into a duration.
func Classify(resp *http.Response, now time.Time) Result {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return Result{Delivered: true, StatusCode: code, Reason: ReasonOK}
	}
	r := Result{StatusCode: code, Error: fmt.Sprintf("answered %d", code)}
	switch {
	case code >= 300 && code < 400:
		r.Reason = ReasonRedirect
		r.Error += "; redirects are not followed"
	case code == http.StatusGone:
		r.Reason = ReasonGone
	case code == http.StatusTooManyRequests:
		r.Reason = ReasonLimited
	case code >= 400 && code < 500:
		r.Reason = ReasonClient
	case code >= 500 && code < 600:
		r.Reason = ReasonServer
	default:
		r.Reason = ReasonOther
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		r.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), now)
	}
	return r
}

// keptHeaders are those of an answer that are read.
var keptHeaders = [...]string{"Content-Encoding", "Retry-After"}

// trim returns the headers of an answer without those that nobody reads, if they take
// much memory: the body may be slow.
func trim(h http.Header) http.Header {
	size := 0
	for name, values := range h {
		size += len(name)
		for _, v := range values {
			size += len(v)
		}
	}
	if size <= trimBytes {
		return h
	}
	kept := make(http.Header, len(keptHeaders))
	for _, name := range keptHeaders {
		if v := h.Get(name); v != "" {
			kept[name] = []string{v[:min(len(v), trimBytes)]}
		}
	}
	return kept
}

// readHead reads a bounded part of an answer's body and returns its beginning
// as valid UTF-8 without NUL, because Postgres takes nothing else as text.
// Compressed bodies, which nobody asked for, are read too.
func readHead(resp *http.Response) (string, error) {
	coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	limit := responseBytes
	if coding != "" && coding != "identity" {
		limit = codedBytes
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)))
	if err == nil && len(head) == limit {
		_, err = io.CopyN(io.Discard, resp.Body, drainBytes)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if limit == codedBytes {
		head = decoded(head, coding)
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(head), "\x00", ""), "\uFFFD"), err
}

// decoded is the beginning of a body with a Content-Encoding. In its place stands a
// note if it can't be read.
func decoded(body []byte, coding string) []byte {
	var r io.Reader
	var err error
	switch coding {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate": // zlib by the standard; many servers leave its header out
		if r, err = zlib.NewReader(bytes.NewReader(body)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		err = errors.ErrUnsupported
	}
	if err == nil {
		var head []byte
		// The body may have been cut: what came before its end is kept.
		if head, err = io.ReadAll(io.LimitReader(r, responseBytes)); len(head) > 0 {
			return head
		}
	}
	if err == nil || len(body) == 0 {
		return nil
	}
	return fmt.Appendf(nil, "(a body that can't be decoded; its Content-Encoding is %.40q)", coding)
}

// parseRetryAfter reads seconds or an HTTP date, at most [retry.MaxRetryAfter]. Numbers and
// years of any size are read. It returns 0 for a time in the past and for any other
// text.
func parseRetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	// ParseFloat returns infinity where the number is out of range.
	if s, err := strconv.ParseFloat(v, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		switch {
		case s >= retry.MaxRetryAfter.Seconds():
			return retry.MaxRetryAfter
		case s > 0:
			return time.Duration(s * float64(time.Second))
		}
		return 0
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), retry.MaxRetryAfter)
	}
	// A date such as "Fri, 31 Dec 99999 23:59:59 GMT".
	if f := strings.Fields(v); len(f) == 6 && len(f[3]) > 4 && strings.Trim(f[3], "0123456789") == "" {
		return retry.MaxRetryAfter
	}
	return 0
}
