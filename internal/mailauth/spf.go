package mailauth

import (
	"context"
	"regexp"
	"strings"

	"blitiri.com.ar/go/spf"

	"github.com/fanmail-dev/fanmail/events/email"
)

// plainLocal matches local parts that every parser reads alike.
var plainLocal = regexp.MustCompile(`^[A-Za-z0-9!#$&'*+/=?^_{|}~.-]{1,64}$`)

// checkSPF checks whether the client may send mail for the return path's domain or, for
// the null sender, for its HELO name.
func checkSPF(ctx context.Context, r *resolver, m *Mail) (v email.SPF) {
	ip := m.ClientIP.Unmap().WithZone("")
	v = email.SPF{Result: email.None, Helo: clean(m.Helo, maxDomainBytes)}
	defer recoverPanic(&v.Result, &v.Reason)
	helo := ascii(m.Helo)
	local := "postmaster" // RFC 7208, 2.4 and 4.3
	if m.From == "" {
		v.Domain = helo
	} else {
		v.Domain = domainOf(m.From)
		if l := m.From[:max(0, strings.LastIndexByte(m.From, '@'))]; plainLocal.MatchString(l) {
			local = l
		}
	}
	if !ip.IsValid() {
		v.Reason = "the client's address is unknown"
		return v
	}
	v.ClientIP = ip.String()
	if !strings.Contains(v.Domain, ".") {
		v.Reason = "there is no domain to check" // RFC 7208, 4.3
		return v
	}
	result, err := spf.CheckHostWithSender(ip.AsSlice(), helo, local+"@"+v.Domain, spf.WithContext(ctx), spf.WithResolver(r))
	v.Result = email.Result(result)
	if err != nil {
		v.Reason = clean(err.Error(), maxReasonBytes)
	}
	return v
}
