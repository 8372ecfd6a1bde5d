package domaincheck

import (
	"context"
	"net/netip"
	"strings"
)

// host checks an MX host: its name, and each of its addresses.
func (k *checker) host(ctx context.Context, r *report, host string) {
	check := "address of " + name(host)
	found, err := lookUp(ctx, k, "addresses", host, k.dns.LookupIPAddr)
	switch {
	case notFound(err) || err == nil && len(found) == 0:
		r.bad(Fail, check, "publish an A record, and an AAAA record if it has IPv6, for "+name(host), "it has none: no mail arrives there")
		return
	case err != nil:
		r.bad(Fail, check, dnsFix, "could not be looked up: %s", dnsText(err))
		return
	}
	canonical, err := lookUp(ctx, k, "CNAME", host, k.dns.LookupCNAME)
	if err == nil && host != k.domain && !strings.EqualFold(strings.TrimSuffix(canonical, "."), host) {
		r.bad(Warn, check, "put "+name(canonical)+" into the MX record, or give "+name(host)+" an A record of its own",
			"it is an alias (CNAME) of %s, which RFC 2181 forbids for MX hosts: some senders do not deliver", name(canonical))
	}
	var addrs []netip.Addr
	var public, other []string
	for _, f := range found {
		if a, valid := netip.AddrFromSlice(f.IP); valid {
			a = a.Unmap()
			addrs = append(addrs, a)
			if a.IsGlobalUnicast() && !a.IsPrivate() {
				public = append(public, a.String())
			} else {
				other = append(other, a.String())
			}
		}
	}
	if len(other) > 0 {
		r.bad(Warn, check, "publish an address that the internet reaches; if only your own network is to send mail, this is right", "%s: not reachable from the internet", names(other))
	}
	if len(public) > 0 {
		r.ok(check, "%s", names(public))
	}
	if len(addrs) > maxAddresses {
		r.bad(Warn, check, "run the doctor with a name for fewer addresses", "has %d addresses: only the first %d are checked here", len(addrs), maxAddresses)
		addrs = addrs[:maxAddresses]
	}
	*r = append(*r, inOrder(addrs, func(r *report, a netip.Addr) {
		k.ptr(ctx, r, host, a)
		k.talk(ctx, r, host, a)
	})...)
}

// ptr checks that an address has a name that has the address.
func (k *checker) ptr(ctx context.Context, r *report, host string, addr netip.Addr) {
	check := "PTR of " + addr.String()
	fix := "ask the owner of the address, such as your hosting provider, to set its PTR record to " + name(host)
	found, err := lookUp(ctx, k, "PTR", addr.String(), func(ctx context.Context, _ string) ([]string, error) { return k.dns.LookupAddr(ctx, addr.String()) })
	switch {
	case len(found) == 0 && (err == nil || notFound(err)):
		r.bad(Warn, check, fix, "there is none")
		return
	case len(found) == 0:
		r.bad(Warn, check, dnsFix, "could not be looked up: %s", dnsText(err))
		return
	}
	for _, n := range found[:min(len(found), maxNames)] {
		back, _ := lookUp(ctx, k, "addresses", n, k.dns.LookupIPAddr)
		for _, b := range back {
			if a, valid := netip.AddrFromSlice(b.IP); valid && a.Unmap() == addr {
				r.ok(check, "%s, which has this address", name(n))
				return
			}
		}
	}
	r.bad(Warn, check, fix+", and check that this name has the address", "%s, which does not have this address", names(found))
}
