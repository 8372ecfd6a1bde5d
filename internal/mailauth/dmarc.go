package mailauth

import (
	"context"
	"net"
	"strings"

	"github.com/emersion/go-msgauth/dmarc"

	"github.com/fanmail-dev/fanmail/events/email"
)

// author returns the domain of the mail's author, to which DMARC applies, or the reason
// why the mail has none.
func author(m *Mail) (domain, fault string) {
	// Of two From fields, one might be signed and the other displayed.
	if len(m.all("From")) > 1 {
		return "", "there is more than one From field"
	}
	for _, a := range m.Authors {
		d := domainOf(a)
		switch {
		case d == "":
			return "", "an address in From has no domain"
		case domain == "":
			domain = d
		case domain != d:
			return "", "the addresses in From have more than one domain"
		}
	}
	if domain == "" {
		return "", "there is no address in From"
	}
	return domain, ""
}

// record is the result of the search for an author's DMARC record.
type record struct {
	result     email.Result // empty if there is a valid record
	reason     string
	domain     string // the domain that has the record
	policy     string
	percent    int
	strictSPF  strictness
	strictDKIM strictness
}

// findRecord looks up the record of the author's domain and, if it has none, that of its
// organisational domain (RFC 7489, 6.6.3).
func findRecord(ctx context.Context, r *resolver, from string) record {
	for _, domain := range []string{from, organisation(from)} {
		txts, err := r.LookupTXT(ctx, "_dmarc."+domain)
		if e, ok := err.(*net.DNSError); ok && !e.IsNotFound { //nolint:errorlint // resolver wraps no error
			return record{result: email.TempError, reason: clean(err.Error(), maxReasonBytes)}
		}
		var found []string
		for _, txt := range txts {
			if isRecord(txt) {
				found = append(found, txt)
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return readRecord(found[0], domain, domain != from)
		default:
			return record{result: email.None, reason: "there is more than one record"}
		}
	}
	return record{result: email.None}
}

const version = "v=DMARC1"

func isRecord(txt string) bool {
	first, _, _ := strings.Cut(txt, ";")
	name, value, ok := strings.Cut(first, "=")
	return ok && strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1"
}

// readRecord parses the tags that a result depends on. Other tags may be malformed
// (RFC 7489, 6.3). inherited says that the record is that of the organisational domain.
func readRecord(txt, domain string, inherited bool) record {
	t := tags(strings.ToLower(txt))
	plain := version
	for _, name := range []string{"p", "sp", "adkim", "aspf", "pct"} {
		if t.has(name) {
			plain += "; " + name + "=" + t[name]
		}
	}
	got, err := dmarc.Parse(plain)
	if err != nil {
		return record{result: email.PermError, domain: domain, reason: clean(strings.TrimPrefix(err.Error(), "dmarc: "), maxReasonBytes)}
	}
	rec := record{domain: domain, percent: 100}
	policy := got.Policy
	if inherited && got.SubdomainPolicy != "" {
		policy = got.SubdomainPolicy
	}
	rec.policy = string(policy)
	if got.Percent != nil {
		rec.percent = *got.Percent
	}
	rec.strictSPF = got.SPFAlignment == dmarc.AlignmentStrict
	rec.strictDKIM = got.DKIMAlignment == dmarc.AlignmentStrict
	return rec
}

// evaluate returns the DMARC result that follows from the SPF and DKIM results in a.
func evaluate(from, fault string, rec record, a *email.Authentication) email.DMARC {
	v := email.DMARC{Domain: from, RecordDomain: rec.domain, Policy: rec.policy, Percent: rec.percent, Result: rec.result, Reason: rec.reason}
	if fault != "" {
		v.Result, v.Reason = email.PermError, fault
		return v
	}
	if v.Result != "" {
		return v
	}
	v.Result = email.Fail
	consider := func(r email.Result, aligned bool) {
		switch {
		case !aligned:
		case r == email.Pass:
			v.Result = email.Pass
		case r == email.TempError && v.Result == email.Fail:
			v.Result = email.TempError
		}
	}
	consider(a.SPF.Result, a.SPF.Aligned)
	for _, s := range a.DKIM {
		consider(s.Result, s.Aligned)
	}
	switch v.Result {
	case email.Fail:
		v.Reason = "no passing SPF or DKIM result is aligned with the author's domain"
	case email.TempError:
		v.Reason = "a DNS failure leaves an aligned check without a result"
	}
	return v
}
