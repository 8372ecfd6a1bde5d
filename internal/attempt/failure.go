package attempt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// Failure names what kept an answer from coming: the reason and one line. What
// a context's end meant its owner knows, and asks before.
func Failure(err error) (reason, text string) {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort):
		return ReasonBlocked, "the address is not public; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"
	case errors.As(err, &dns):
		return ReasonDNS, OneLine(err)
	case errors.As(err, &record), errors.As(err, &cert), errors.As(err, &unknown):
		return ReasonTLS, OneLine(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused, OneLine(err)
	}
	return ReasonConnection, OneLine(err)
}

// OneLine is an error's text as one line of valid UTF-8, cut at 500 bytes.
func OneLine(err error) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "\uFFFD")), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "")
	}
	return strings.ReplaceAll(s, "\x00", "")
}
