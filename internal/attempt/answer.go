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
	// responseBytes of an answer are kept; drainBytes more are read so that
	// the connection can be used again.
	responseBytes = 1 << 10
	drainBytes    = 8 << 10
	// MaxRetryAfter is the longest that an endpoint's Retry-After is heeded.
	MaxRetryAfter = 24 * time.Hour
)

// Why an attempt failed: a closed set.
const (
	ReasonOK         = "ok"
	ReasonTimeout    = "timeout"
	ReasonDNS        = "dns"
	ReasonRefused    = "refused"
	ReasonTLS        = "tls"
	ReasonConnection = "connection"
	ReasonBlocked    = "blocked"
	ReasonRequest    = "request"
	ReasonRedirect   = "status_3xx"
	ReasonClient     = "status_4xx"
	ReasonLimited    = "status_429"
	ReasonGone       = "gone"
	ReasonServer     = "status_5xx"
	ReasonOther      = "status_other"
	ReasonStopped    = "stopped"
)

// Reasons are all of them.
func Reasons() []string {
	return []string{
		ReasonOK, ReasonTimeout, ReasonDNS, ReasonRefused, ReasonTLS, ReasonConnection, ReasonBlocked, ReasonRequest,
		ReasonRedirect, ReasonClient, ReasonLimited, ReasonGone, ReasonServer, ReasonOther, ReasonStopped,
	}
}

// Classification is what is thought of an answer.
type Classification struct {
	Delivered bool
	Reason    string
	// Error is one line; "" where Delivered.
	Error string
	// RetryAfter is what a 429 or 503 asked for, at most [MaxRetryAfter]; 0
	// for none.
	RetryAfter time.Duration
}

// Classify judges an answer by its status.
func Classify(resp *http.Response, now time.Time) Classification {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return Classification{Delivered: true, Reason: ReasonOK}
	}
	v := Classification{Error: fmt.Sprintf("answered %d", code)}
	switch {
	case code >= 300 && code < 400:
		v.Reason = ReasonRedirect
		v.Error += "; redirects are not followed"
	case code == http.StatusGone:
		v.Reason = ReasonGone
	case code == http.StatusTooManyRequests:
		v.Reason = ReasonLimited
	case code >= 400 && code < 500:
		v.Reason = ReasonClient
	case code >= 500 && code < 600:
		v.Reason = ReasonServer
	default:
		v.Reason = ReasonOther
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		v.RetryAfter = RetryAfter(resp.Header.Get("Retry-After"), now)
	}
	return v
}

// Head reads an answer as far as it is read at all, and gives the first bytes
// as valid UTF-8 without NUL.
func Head(body io.Reader) (string, error) {
	head, err := io.ReadAll(io.LimitReader(body, responseBytes))
	if err == nil && len(head) == responseBytes {
		_, err = io.CopyN(io.Discard, body, drainBytes)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(head), "\x00", ""), "\uFFFD"), err
}

// RetryAfter reads a Retry-After of seconds or an HTTP date; 0 where it is
// neither.
func RetryAfter(v string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && s > 0 {
		return min(time.Duration(min(s, 1<<30))*time.Second, MaxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), MaxRetryAfter)
	}
	return 0
}
