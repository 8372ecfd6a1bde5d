package attempt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

// Guard judges the addresses and ports of endpoints. The zero value allows public
// addresses, the ports 80 and 443, and the ports above 1023.
type Guard struct {
	// Networks may be reached although they are not public.
	Networks []netip.Prefix
	// Ports below 1024 that may be reached beside 80 and 443.
	Ports []uint16
}

// denied are addresses of clouds' own services that lie in public or often allowed
// networks. An allowed network covers one of them only if it lies within the entry.
var denied = []netip.Prefix{
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure: agent, DNS and health probes
	netip.MustParsePrefix("169.254.169.254/32"), // metadata of most clouds
	netip.MustParsePrefix("169.254.170.0/24"),   // AWS: credentials of tasks and pods
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba: metadata
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle: metadata
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS: metadata, DNS and time over IPv6
	netip.MustParsePrefix("fd20:ce::/32"),       // Google: metadata over IPv6
}

// embedded are networks whose addresses stand for an IPv4 address, which translators
// and tunnels reach. An operator who runs NAT64 allows its network; the IPv4 address is
// then judged as if it were dialled. The others can't be allowed.
var embedded = []struct {
	network netip.Prefix
	nat64   bool // the IPv4 address is the last four bytes
}{
	{netip.MustParsePrefix("64:ff9b::/96"), true},
	{netip.MustParsePrefix("64:ff9b:1::/48"), true}, // NAT64 of a site, as a rule by a /96 of it
	{netip.MustParsePrefix("2002::/16"), false},     // 6to4
	{netip.MustParsePrefix("2001::/32"), false},     // Teredo
	{netip.MustParsePrefix("::ffff:0:0:0/96"), false},
	{netip.MustParsePrefix("::/96"), false},
}

// judge returns a guard's check of an address. The error wraps one of package ssrf.
func (g Guard) judge() func(netip.AddrPort) error {
	public := ssrf.New(
		ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(prefixes(g.Networks, true)...), ssrf.WithAllowedV6Prefixes(prefixes(g.Networks, false)...),
	)
	return func(a netip.AddrPort) error {
		if !g.allowsPort(a.Port()) {
			return fmt.Errorf("%w: %d", ssrf.ErrProhibitedPort, a.Port())
		}
		addr := a.Addr()
		if addr.Zone() != "" {
			return fmt.Errorf("%w: %s has a zone", ssrf.ErrProhibitedIP, addr)
		}
		if err := g.special(addr); err != nil {
			return err
		}
		return public.SafeAddr(addr)
	}
}

func (g Guard) allowsPort(port uint16) bool {
	return port == 80 || port == 443 || port >= 1024 || port > 0 && slices.Contains(g.Ports, port)
}

// special refuses addresses of the deny list, and IPv6 addresses that lead to an IPv4
// address.
func (g Guard) special(addr netip.Addr) error {
	for _, d := range denied {
		if d.Contains(addr.Unmap()) && !g.covers(d, addr.Unmap()) {
			return fmt.Errorf("%w: %s belongs to a cloud's own services", ssrf.ErrProhibitedIP, addr)
		}
	}
	if !addr.Is6() || addr.Is4In6() {
		return nil
	}
	b := addr.As16()
	// ISATAP: the last eight bytes are [02]00:5efe and an IPv4 address, in any network.
	if id := binary.BigEndian.Uint32(b[8:12]); id == 0x00005efe || id == 0x02005efe {
		return fmt.Errorf("%w: %s is an ISATAP address", ssrf.ErrProhibitedIP, addr)
	}
	for _, e := range embedded {
		if !e.network.Contains(addr) || addr.IsLoopback() {
			continue
		}
		if !e.nat64 || !g.covers(e.network, addr) {
			return fmt.Errorf("%w: %s leads to an IPv4 address", ssrf.ErrProhibitedIP, addr)
		}
		if v4 := netip.AddrFrom4([4]byte(b[12:])); !g.Reachable(v4) {
			return fmt.Errorf("%w: %s leads to %s", ssrf.ErrProhibitedIP, addr, v4)
		}
	}
	return nil
}

// covers reports whether an allowed network within d contains the address.
func (g Guard) covers(d netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(g.Networks, func(p netip.Prefix) bool {
		return p.Bits() >= d.Bits() && d.Contains(p.Addr()) && p.Contains(addr)
	})
}

// Reachable reports whether the guard lets an address be dialled, on a port that it
// allows.
func (g Guard) Reachable(addr netip.Addr) bool {
	return g.judge()(netip.AddrPortFrom(addr.Unmap(), 443)) == nil
}

// control is the guard as a dialer's Control: it judges the address after DNS.
func (g Guard) control() func(network, address string, _ syscall.RawConn) error {
	judge := g.judge()
	return func(network, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("%w: %s %s", ssrf.ErrProhibitedNetwork, network, address)
		}
		return judge(a)
	}
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
