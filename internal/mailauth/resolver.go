package mailauth

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxQuestions bounds the lookups for one mail. SPF alone may need 10, each
	// of which may name 10 hosts, by RFC 7208, 4.6.4; no sane domain does.
	maxQuestions = 100
	// maxRecordBytes bounds a TXT record. The longest keys in use take under 1 KiB.
	maxRecordBytes = 8 << 10
	// packetWait is how long one packet over UDP may go unanswered. The check
	// has a few seconds in all, and the standard library would wait for 5.
	packetWait = 1500 * time.Millisecond
)

// newResolver asks the server, "host:port", or the system's servers where it is
// empty.
func newResolver(server string) *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		// Half an answer, such as A without AAAA, is a failure and no answer.
		StrictErrors: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if server != "" {
				address = server
			}
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if udp, ok := c.(*net.UDPConn); ok {
				return &hasty{udp}, err
			}
			return c, err
		},
	}
}

// hasty gives up on a packet early, so that there is time to ask again.
type hasty struct{ *net.UDPConn }

func (h *hasty) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(packetWait); t.After(soon) {
		t = soon
	}
	return h.UDPConn.SetDeadline(t)
}

// resolver asks the questions of one mail. Every error that it returns is a
// [*net.DNSError], either IsNotFound or IsTemporary: the libraries tell them
// apart by that, and what is neither an answer nor "there is none" is no
// knowledge.
type resolver struct {
	ask   *net.Resolver
	asked atomic.Int32
}

func lookUp[T any](r *resolver, name string, ask func(fqdn string) ([]T, error)) ([]T, error) {
	if n := r.asked.Add(1); n > maxQuestions {
		return nil, &net.DNSError{Err: fmt.Sprintf("over %d lookups for one mail", maxQuestions), Name: name, IsTemporary: true}
	}
	// The dot keeps the search list of resolv.conf out.
	found, err := ask(strings.TrimSuffix(name, ".") + ".")
	if err == nil {
		return found, nil
	}
	dns := &net.DNSError{Err: err.Error(), Name: name}
	if e, ok := err.(*net.DNSError); ok { //nolint:errorlint // the resolver's own, never wrapped
		*dns = *e
	}
	dns.IsTemporary = !dns.IsNotFound
	dns.Server = "" // an event is no place for the operator's addresses
	return found, dns
}

func (r *resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	found, err := lookUp(r, name, func(fqdn string) ([]string, error) { return r.ask.LookupTXT(ctx, fqdn) })
	for i, txt := range found {
		if len(txt) > maxRecordBytes {
			found[i] = txt[:maxRecordBytes] + " (cut)" // makes it a malformed record
		}
	}
	return found, err
}

func (r *resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookUp(r, name, func(fqdn string) ([]*net.MX, error) { return r.ask.LookupMX(ctx, fqdn) })
}

func (r *resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookUp(r, host, func(fqdn string) ([]net.IPAddr, error) { return r.ask.LookupIPAddr(ctx, fqdn) })
}

func (r *resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookUp(r, addr, func(string) ([]string, error) { return r.ask.LookupAddr(ctx, addr) })
}
