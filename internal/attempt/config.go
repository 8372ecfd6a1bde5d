package attempt

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"time"
)

// Config says how a [Poster] sends.
type Config struct {
	// Timeout bounds a whole attempt, from dialling to the end of the answer.
	Timeout time.Duration
	// UserAgent of every request.
	UserAgent string
	// AllowHTTP sends to plain HTTP URLs too.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that may be dialled beside 80 and 443.
	AllowPorts []uint16
	// Proxy for all attempts; nil: none. The environment's proxy is not used. Names
	// are resolved and judged here, and the proxy is asked for the address.
	Proxy *url.URL
	// ProxyFilters says that the proxy itself refuses what is not public. It is then
	// asked for the name.
	ProxyFilters bool
	// IdleConns bounds the idle connections of a sixteenth of the hosts, and so those
	// of one host. Zero: 512.
	IdleConns int
	// Conns bounds all connections, if there are idle ones: before another one is
	// opened, they are closed. Zero: no bound.
	Conns int
	// HTTP2Conns bounds the connections that speak HTTP/2, each of which may hold 1 MiB of
	// an answer's headers. Further ones speak HTTP/1.1. Zero: 256.
	HTTP2Conns int

	roots *x509.CertPool // nil: the system's
}
