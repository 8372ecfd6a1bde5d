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
	// maxLookups bounds the DNS lookups for one mail. RFC 7208, 4.6.4, allows SPF 10
	// terms, each with up to 10 hosts. Real domains need far fewer.
	maxLookups = 100
	// maxRecordBytes bounds a TXT record. The longest keys in use take under 1 KiB.
	maxRecordBytes = 8 << 10
	// packetWait is how long to wait for the answer to one UDP packet. The standard library
	// waits for 5 s, which would leave no time to ask again.
	packetWait = 1500 * time.Millisecond
)

// NewResolver returns a resolver that asks the server, "host:port"; empty: the
// system's servers.
func NewResolver(server string) *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		// A partial answer, such as A without AAAA, is a failure.
		StrictErrors: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if server != "" {
				address = server
			}
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if udp, ok := c.(*net.UDPConn); ok {
				return &shortWait{udp}, err
			}
			return c, err
		},
	}
}

// shortWait bounds the wait for one packet by packetWait.
type shortWait struct{ *net.UDPConn }

func (h *shortWait) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(packetWait); t.After(soon) {
		t = soon
	}
	return h.UDPConn.SetDeadline(t)
}

// resolver makes the DNS lookups for one mail. Every error that it returns is a
// [*net.DNSError], either IsNotFound or IsTemporary, because the SPF and DKIM libraries
// distinguish errors by these. Every failure but "not found" is temporary.
type resolver struct {
	dns     *net.Resolver
	lookups atomic.Int32
}

func lookUp[T any](r *resolver, name string, ask func(fqdn string) ([]T, error)) ([]T, error) {
	if n := r.lookups.Add(1); n > maxLookups {
		return nil, &net.DNSError{Err: fmt.Sprintf("over %d lookups for one mail", maxLookups), Name: name, IsTemporary: true}
	}
	// With the final dot the resolver ignores the search list of resolv.conf.
	found, err := ask(strings.TrimSuffix(name, ".") + ".")
	if err == nil {
		return found, nil
	}
	dns := &net.DNSError{Err: err.Error(), Name: name}
	if e, ok := err.(*net.DNSError); ok { //nolint:errorlint // net.Resolver wraps no error
		*dns = *e
	}
	dns.IsTemporary = !dns.IsNotFound
	dns.Server = "" // the address of the operator's DNS server must not be in an event
	return found, dns
}

func (r *resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	found, err := lookUp(r, name, func(fqdn string) ([]string, error) { return r.dns.LookupTXT(ctx, fqdn) })
	for i, txt := range found {
		if len(txt) > maxRecordBytes {
			found[i] = txt[:maxRecordBytes] + " (cut)" // makes it a malformed record
		}
	}
	return found, err
}

func (r *resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookUp(r, name, func(fqdn string) ([]*net.MX, error) { return r.dns.LookupMX(ctx, fqdn) })
}

func (r *resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookUp(r, host, func(fqdn string) ([]net.IPAddr, error) { return r.dns.LookupIPAddr(ctx, fqdn) })
}

func (r *resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookUp(r, addr, func(string) ([]string, error) { return r.dns.LookupAddr(ctx, addr) })
}
