package domaincheck

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The values of Status of a [Finding].
const (
	OK   = "ok"
	Warn = "warn" // mail arrives, but something needs attention
	Fail = "fail" // mail does not arrive
)

// Finding is what one check found.
type Finding struct {
	Check  string // such as "MX"
	Status string
	Detail string
	Fix    string // what to do; "" for OK
}

// report collects findings in order.
type report []Finding

func (r *report) ok(check, format string, args ...any) {
	*r = append(*r, Finding{Check: check, Status: OK, Detail: fmt.Sprintf(format, args...)})
}

func (r *report) bad(status, check, fix, format string, args ...any) {
	*r = append(*r, Finding{Check: check, Status: status, Fix: fix, Detail: fmt.Sprintf(format, args...)})
}

const (
	// maxText bounds the texts of strangers in a finding, in bytes.
	maxText = 200
	// maxNames bounds the names of a finding.
	maxNames = 5
	// lookupTimeout bounds one DNS lookup with its repetitions.
	lookupTimeout = 10 * time.Second
)

// quoted returns a text of a stranger in quotes, with what is not printable escaped.
func quoted(s string) string {
	if len(s) > maxText {
		return strconv.Quote(s[:maxText]) + "…"
	}
	return strconv.Quote(s)
}

// name returns a name from DNS or a certificate: as it is if it looks like a host name,
// else quoted. DNS allows any byte in a name.
func name(s string) string {
	s = strings.TrimSuffix(s, ".")
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._*:", c) >= 0) {
			return quoted(s)
		}
	}
	if s == "" || len(s) > maxText {
		return quoted(s)
	}
	return s
}

// names lists up to maxNames names.
func names(list []string) string {
	var out []string
	for i, n := range list {
		if i == maxNames {
			out = append(out, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		out = append(out, name(n))
	}
	return strings.Join(out, ", ")
}

// dnsText returns why a lookup failed, without the name and the server, which the
// standard library names wrongly where another server was asked.
func dnsText(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsTimeout:
		return "no answer within " + lookupTimeout.String()
	case errors.As(err, &dns):
		return quoted(dns.Err)
	}
	return quoted(err.Error())
}

func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
