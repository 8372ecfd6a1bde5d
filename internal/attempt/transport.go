package attempt

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"code.dny.dev/ssrf"
)

// NewTransport makes the client side of attempts. The address is checked as it
// is dialled, after DNS, so a name that resolves to something else in between
// gains nothing. A proxy is used only where the operator configures one; it is
// then the proxy that is dialled and must do the checking.
func NewTransport(allow []netip.Prefix, proxy *url.URL) *http.Transport {
	return newTransport(allow, proxy, nil)
}

// Reachable says whether the guard lets an address be dialled: it is public, or
// in one of the networks that the operator allows.
func Reachable(allow []netip.Prefix, addr netip.Addr) bool {
	return guard(allow).SafeAddrPort(netip.AddrPortFrom(addr.Unmap(), 443)) == nil
}

func guard(allow []netip.Prefix) *ssrf.Guardian {
	return ssrf.New(
		ssrf.WithAnyPort(),
		ssrf.WithAllowedV4Prefixes(prefixes(allow, true)...),
		ssrf.WithAllowedV6Prefixes(prefixes(allow, false)...),
	)
}

// newTransport resolves names with the system's resolver where none is given.
func newTransport(allow []netip.Prefix, proxy *url.URL, resolver *net.Resolver) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: guard(allow).Safe, Resolver: resolver}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           8192,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}
	if proxy != nil {
		t.Proxy = http.ProxyURL(proxy)
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return t
}

func prefixes(all []netip.Prefix, v4 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		if p.Addr().Is4() == v4 {
			out = append(out, p)
		}
	}
	return out
}
