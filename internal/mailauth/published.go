package mailauth

import (
	"context"
	"net/netip"
	"sync"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Published is what a domain's records say about mail from it.
type Published struct {
	// SPF is the result for a client that the record does not list: fail or softfail
	// where it refuses them, none without a record.
	SPF       email.Result
	SPFReason string
	// DMARC is empty if there is a valid record; none, temperror or permerror otherwise.
	DMARC       email.Result
	DMARCReason string
	// DMARCDomain has the record: the domain or its organisational domain.
	DMARCDomain string
	Policy      string // of a valid record: none, quarantine or reject
	Percent     int    // of the mail that the policy covers
}

// stranger is a client that no domain lists: the address is reserved for documentation
// (RFC 5737).
var stranger = netip.AddrFrom4([4]byte{198, 51, 100, 255})

// Published looks up a domain's SPF and DMARC records.
func (c *Checker) Published(ctx context.Context, domain string) Published {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	r := &resolver{dns: c.dns}
	var (
		wg  sync.WaitGroup
		spf email.SPF
		rec record
	)
	wg.Go(func() {
		spf = checkSPF(ctx, r, &Mail{ClientIP: stranger, Helo: domain, From: "postmaster@" + domain})
	})
	wg.Go(func() { rec = findRecord(ctx, r, domain) })
	wg.Wait()
	return Published{
		SPF: spf.Result, SPFReason: spf.Reason,
		DMARC: rec.result, DMARCReason: rec.reason, DMARCDomain: rec.domain, Policy: rec.policy, Percent: rec.percent,
	}
}
