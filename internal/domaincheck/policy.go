package domaincheck

import (
	"context"

	"github.com/fanmail-dev/fanmail/events/email"
)

// policies checks the records about mail from the domain. Strangers forge the addresses of
// domains without them, also of domains that only receive.
func (k *checker) policies(ctx context.Context, r *report) {
	k.waiting("DNS: SPF and DMARC of %s", name(k.domain))
	p := k.auth.Published(ctx, k.domain)
	k.spf(r, p.SPF, p.SPFReason)
	const check = "DMARC"
	place := "_dmarc." + k.domain
	switch {
	case p.DMARC == email.TempError:
		r.bad(Warn, check, dnsFix, "could not be looked up: %s", quoted(p.DMARCReason))
	case p.DMARC == email.PermError:
		r.bad(Warn, check, "correct the TXT record of "+place, "the record of %s is not valid: %s", name(p.DMARCDomain), quoted(p.DMARCReason))
	case p.DMARC != "" && p.DMARCReason != "":
		r.bad(Warn, check, "leave one TXT record that begins with v=DMARC1 at "+place, "%s: receivers ignore them all", p.DMARCReason)
	case p.DMARC != "":
		r.bad(Warn, check, "publish a TXT record at "+place+", such as `v=DMARC1; p=reject`; with p=none and rua=mailto:… first if the domain sends mail", "there is no record: anybody can send mail in the domain's name")
	case p.Policy == "none":
		r.bad(Warn, check, "once the reports (rua=) show that your own mail passes, set p=quarantine or p=reject at _dmarc."+name(p.DMARCDomain), "the policy is none: mail that fails is delivered all the same")
	case p.Percent < 100:
		r.bad(Warn, check, "remove pct= at _dmarc."+name(p.DMARCDomain), "the policy %s covers %d %% of the mail", name(p.Policy), p.Percent)
	default:
		r.ok(check, "policy %s, published by %s", name(p.Policy), name(p.DMARCDomain))
	}
}

// spf reports the result for a client that the record does not list.
func (k *checker) spf(r *report, result email.Result, reason string) {
	const check = "SPF"
	switch result {
	case email.None:
		r.bad(Warn, check, "publish a TXT record at "+k.domain+": `v=spf1 -all` if the domain sends no mail, else the servers that send it before -all", "there is no record: anybody can send mail in the domain's name")
	case email.Pass:
		r.bad(Warn, check, "end the record with -all, and list only servers that send the domain's mail", "the record lets any server send the domain's mail")
	case email.Neutral:
		r.bad(Warn, check, "end the record with -all or ~all", "the record says nothing about servers that it does not list")
	case email.PermError:
		r.bad(Warn, check, "correct the TXT record of "+k.domain+": receivers ignore it", "the record is not valid: %s", quoted(reason))
	case email.TempError:
		r.bad(Warn, check, dnsFix, "could not be looked up: %s", quoted(reason))
	default:
		r.ok(check, "servers that it does not list get %s", result)
	}
}
