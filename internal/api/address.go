package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// clientAddress is where a request comes from.
func (s *server) clientAddress(ctx huma.Context) netip.Addr {
	r, _ := humago.Unwrap(ctx)
	return ClientAddress(r, s.proxies)
}

// ClientAddress returns the address from which a request comes: that of the connection.
// If that is one of the trusted proxies, it is the last address in X-Forwarded-For that
// is not a trusted proxy: each proxy appends the address that it saw, and what stands
// before is the client's own text. The zero address means that it can't be told.
func ClientAddress(r *http.Request, proxies []netip.Prefix) netip.Addr {
	connection, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	at := connection.Addr().Unmap().WithZone("")
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	if !trusted(at) {
		return at
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(chain) {
		before, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return at // no further proxy says who came before
		}
		if at = before.Unmap().WithZone(""); !trusted(at) {
			return at
		}
	}
	return at
}
