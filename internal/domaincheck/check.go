package domaincheck

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
)

// Check checks a domain, in lower case and ASCII (xn--) where it is international. The
// findings stand in the order in which a mail meets what they are about.
func Check(ctx context.Context, domain string, c Config) []Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, fmt.Errorf("the checks took over %s", Timeout))
	defer cancel()
	k := &checker{Config: c, domain: domain, dns: mailauth.NewResolver(c.DNSServer), auth: mailauth.New("", c.DNSServer, lookupTimeout)}
	if k.Port == 0 {
		k.Port = smtpPort
	}
	var route, policies report
	var both sync.WaitGroup
	both.Go(func() { k.policies(ctx, &policies) })
	both.Go(func() {
		hosts := k.mx(ctx, &route)
		route = append(route, inOrder(hosts, func(r *report, host string) { k.host(ctx, r, host) })...)
	})
	both.Wait()
	return append(route, policies...)
}

// mx checks the MX records, and returns the hosts to go on with.
func (k *checker) mx(ctx context.Context, r *report) []string {
	const check = "MX"
	publish := "publish an MX record with the name of your SMTP server: `" + k.domain + ". MX 10 mx." + k.domain + ".`"
	found, err := lookUp(ctx, k, "MX", k.domain, k.dns.LookupMX)
	if len(found) == 0 && err != nil && !notFound(err) {
		r.bad(Fail, check, dnsFix, "could not be looked up: %s", dnsText(err))
		return nil
	}
	if len(found) == 0 {
		if addrs, err := lookUp(ctx, k, "addresses", k.domain, k.dns.LookupIPAddr); err == nil && len(addrs) > 0 {
			r.bad(Warn, check, publish, "there is none: mail goes to the address of %s itself", k.domain)
			return []string{k.domain}
		}
		r.bad(Fail, check, publish, "there is none, and %s has no address either: no mail arrives", k.domain)
		return nil
	}
	if err != nil { // the resolver has left some out
		r.bad(Warn, check, "delete the MX records that do not name a host", "a record does not name a host: %s", dnsText(err))
	}
	var hosts, listed []string
	well := true
	for _, mx := range found {
		host := strings.TrimSuffix(mx.Host, ".")
		listed = append(listed, mx.Host)
		_, err := netip.ParseAddr(host)
		switch {
		case host == "" && len(found) == 1:
			r.bad(Fail, check, publish+", and delete the record `MX 0 .`", "is a null MX (RFC 7505): it says that %s takes no mail", k.domain)
			return nil
		case host == "":
			well = false
			r.bad(Warn, check, "delete the record `MX 0 .`", "a null MX (RFC 7505) stands beside other records: it says that %s takes no mail", k.domain)
		case err == nil:
			well = false
			r.bad(Fail, check, "give the address a name by an A or AAAA record, and put the name into the MX record", "%s is an address: an MX record must name a host", name(host))
		case !slices.Contains(hosts, strings.ToLower(host)):
			hosts = append(hosts, strings.ToLower(host))
		}
	}
	if well {
		r.ok(check, "%s", names(listed))
	}
	if len(hosts) > maxHosts {
		r.bad(Warn, check, "publish fewer MX records", "names %d hosts: only the first %d are checked here", len(hosts), maxHosts)
		hosts = hosts[:maxHosts]
	}
	return hosts
}
