package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// errorBytes is the longest error line.
const errorBytes = 500

var (
	// ErrStopped is the cause with which a process that stops cancels the
	// contexts of its attempts.
	ErrStopped = errors.New("the process stopped before the answer came")
	// ErrLeaseLost says that the lease had run out by the time the request was
	// ready; nothing was sent.
	ErrLeaseLost = errors.New("the lease ran out before the request was sent")

	errCallerLeft = errors.New("the caller left before the answer came")
)

// timeoutError is the cause of an attempt's deadline; it names the deadline.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }

// Unsent is the result of an attempt for which no request could be made.
func Unsent(err error, start time.Time) Result {
	return Result{Reason: ReasonRequest, Error: oneLine(err), Duration: time.Since(start)}
}

// failed is the result of an attempt without a complete answer. The cause of
// the context comes first: what the transport then says is a consequence.
func failed(ctx context.Context, err error, start time.Time) Result {
	r := Result{Duration: time.Since(start)}
	var timeout *timeoutError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrStopped), errors.Is(cause, ErrLeaseLost):
		r.Reason, r.Error = ReasonStopped, cause.Error()
	case errors.As(cause, &timeout):
		r.Reason, r.Error = ReasonTimeout, timeout.text
	case cause != nil:
		r.Reason, r.Error = ReasonTimeout, errCallerLeft.Error()
	default:
		r.Reason, r.Error = describe(err)
	}
	return r
}

// describe returns the reason and the error line for a transport's error.
func describe(err error) (reason, text string) {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort):
		return ReasonBlocked, "the address is not public; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"
	case errors.As(err, &dns):
		return ReasonDNS, oneLine(err)
	case errors.As(err, &record), errors.As(err, &cert), errors.As(err, &unknown):
		return ReasonTLS, oneLine(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused, oneLine(err)
	}
	return ReasonConnection, oneLine(err)
}

// oneLine is an error's text as one line of valid UTF-8 without NUL, cut at
// errorBytes.
func oneLine(err error) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "\uFFFD")), " ")
	if len(s) > errorBytes {
		s = strings.ToValidUTF8(s[:errorBytes], "")
	}
	return strings.ReplaceAll(s, "\x00", "")
}
