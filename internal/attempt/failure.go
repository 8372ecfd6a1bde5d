package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
	"unicode"

	"code.dny.dev/ssrf"

	"github.com/fanmail-dev/fanmail/internal/setting"
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

// errPlainHTTP is the error of a URL without TLS where only https is allowed.
var errPlainHTTP error = plainHTTPError{}

type plainHTTPError struct{}

func (plainHTTPError) Error() string {
	return setting.Named("the webhook's URL is not https, and plain http is off (FANMAIL_ALLOW_HTTP)")
}

// unmade is the error of an attempt whose request could not be made.
type unmade struct{ reason, text, detail string }

func (u *unmade) Error() string { return u.text }

func lateAfter(d time.Duration) error {
	return &timeoutError{fmt.Sprintf("no complete answer within %g s", d.Seconds())}
}

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
		r.Detail = oneLine(err)
	}
	return r
}

// The error lines of attempts without an answer. Tenants read them, so they say
// nothing that depends on the network in here: no address of a resolver, a proxy or a
// process, and not whether a name that may not be reached exists.
const (
	textAddress     = "the address is not public, or the host has none; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"
	textPort        = "the port is not allowed; 80, 443 and those above 1023 are, and the operator can allow others (FANMAIL_ALLOW_PORTS)"
	textCertificate = "the endpoint's certificate is not valid for it: it has expired, names another host, or is signed by nobody who is trusted"
	textTLS         = "the TLS handshake with the endpoint failed"
	textRefused     = "the endpoint refused the connection"
	textReset       = "the endpoint closed the connection before a complete answer came"
	textAnswer      = "what the endpoint answered is not HTTP"
	textHead        = "a 1xx answer of the endpoint has more than 128 KiB of headers"
	textHTTP2       = "what the endpoint answered over HTTP/2 can't be read: it has more than 1 MiB of headers, or breaks the protocol"
	textConnection  = "the connection to the endpoint failed"
)

// describe returns the reason and the error line for a transport's error.
func describe(err error) (reason, text string) {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var op *net.OpError
	var handshake *handshakeError
	var proxy *proxyError
	switch {
	case errors.Is(err, ssrf.ErrProhibitedPort):
		return ReasonBlocked, setting.Named(textPort)
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		return ReasonBlocked, setting.Named(textAddress)
	case errors.As(err, &proxy) && proxy.status == http.StatusForbidden:
		return ReasonBlocked, setting.Named(textAddress)
	case errors.As(err, &proxy):
		return ReasonConnection, textConnection
	case errors.As(err, &dns):
		return ReasonDNS, setting.Named(textAddress)
	case errors.As(err, &cert), errors.As(err, &unknown):
		return ReasonTLS, textCertificate
	case errors.As(err, &record), errors.As(err, &handshake), isAlert(err):
		return ReasonTLS, textTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused, textRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonConnection, textReset
	case errors.Is(err, errLongHead):
		return ReasonConnection, textHead
	case strings.Contains(err.Error(), "response header list larger"), strings.Contains(err.Error(), "connection error: "):
		return ReasonConnection, textHTTP2
	case errors.As(err, &op):
		return ReasonConnection, textConnection
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "HTTP/1.x transport connection broken"):
		return ReasonConnection, textAnswer
	}
	return ReasonConnection, textConnection
}

// Shown is the reason that a tenant may read: an address that may not be reached and a
// name without one have the same.
func Shown(reason string) string {
	if reason == ReasonBlocked {
		return ReasonDNS
	}
	return reason
}

// isAlert reports whether the error is a TLS alert, which may come after the handshake:
// TLS 1.3 refuses a client without a certificate so. The type of alerts is not exported.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// ended reports whether an error means that the connection can't be used any more. Of
// some errors net/http exports nothing but the text.
func ended(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "client conn could not be established")
}

// oneLine is an error's text as one line of valid UTF-8, cut at errorBytes. Much of it may be an endpoint's: it
// lacks control characters, and format characters, which reorder or hide others.
func oneLine(err error) string {
	shown := strings.Map(func(r rune) rune {
		if !unicode.IsSpace(r) && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "\uFFFD"))
	s := strings.Join(strings.Fields(shown), " ")
	if len(s) > errorBytes {
		s = strings.ToValidUTF8(s[:errorBytes], "")
	}
	return s
}
