package attempt

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// responseBytes is how much of an answer's body is kept.
	responseBytes = 1 << 10
	// drainBytes is how much of the body is read and thrown away after that, so
	// that the connection can be reused.
	drainBytes = 8 << 10
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

// readHead reads a bounded part of an answer's body and returns its beginning
// as valid UTF-8 without NUL, because Postgres takes nothing else as text.
func readHead(body io.Reader) (string, error) {
	head, err := io.ReadAll(io.LimitReader(body, responseBytes))
	if err == nil && len(head) == responseBytes {
		_, err = io.CopyN(io.Discard, body, drainBytes)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(head), "\x00", ""), "\uFFFD"), err
}

// parseRetryAfter reads seconds or an HTTP date, at most [MaxRetryAfter]. It
// returns 0 for any other text and for a time in the past.
func parseRetryAfter(v string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && s > 0 {
		return min(time.Duration(min(s, 1<<30))*time.Second, MaxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), MaxRetryAfter)
	}
	return 0
}
