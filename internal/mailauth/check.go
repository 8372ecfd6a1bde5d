package mailauth

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Checker authenticates the senders of mails. It is safe for concurrent use.
type Checker struct {
	dns      *net.Resolver
	identity string
	timeout  time.Duration
}

// New returns a checker. identity is the name of this host, the authserv-id of the
// results (RFC 8601). server is the DNS server, "host:port"; empty: the system's.
// timeout bounds the check of one mail.
func New(identity, server string, timeout time.Duration) *Checker {
	return &Checker{dns: NewResolver(server), identity: identity, timeout: timeout}
}

// Check returns the authentication results. more reports that the mail has more DKIM
// signatures than the eight that are verified.
func (c *Checker) Check(ctx context.Context, m Mail) (a email.Authentication, more bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	r := &resolver{dns: c.dns}
	from, fault := author(&m)
	var (
		wg  sync.WaitGroup
		rec record
	)
	wg.Go(func() { a.SPF = checkSPF(ctx, r, &m) })
	wg.Go(func() { a.DKIM, more = checkDKIM(ctx, r, m.Raw) })
	wg.Go(func() {
		if fault == "" && from != "" {
			rec = findRecord(ctx, r, from)
		}
	})
	wg.Wait()
	a.Checked = true
	a.SPF.Aligned = rec.strictSPF.aligned(a.SPF.Domain, from)
	for i := range a.DKIM {
		a.DKIM[i].Aligned = rec.strictDKIM.aligned(a.DKIM[i].Domain, from)
	}
	a.DMARC = evaluate(from, fault, rec, &a)
	a.ARC = readARC(&m)
	a.Results = results(c.identity, &a)
	return a, more
}
