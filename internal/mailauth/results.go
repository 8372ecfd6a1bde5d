package mailauth

import (
	"regexp"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"github.com/fanmail-dev/fanmail/events/email"
)

// plainWord matches values that need no quotes in a header field. Other values of the
// mail are left out, because parsers differ in how they read quoted ones.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@.+-]{1,320}$`)

func plain(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return ""
}

// results returns the value of an Authentication-Results field.
func results(identity string, a *email.Authentication) string {
	var list []authres.Result
	add := func(method string, r email.Result, params map[string]string) {
		for name, v := range params {
			if params[name] = plain(v); params[name] == "" {
				delete(params, name)
			}
		}
		list = append(list, &authres.GenericResult{Method: method, Value: authres.ResultValue(r), Params: params})
	}
	// The property names the identity that was checked (RFC 8601, 2.7.2).
	checked := map[string]string{"smtp.mailfrom": a.SPF.Domain}
	if a.SPF.Domain == ascii(a.SPF.Helo) {
		checked = map[string]string{"smtp.helo": a.SPF.Domain}
	}
	add("spf", a.SPF.Result, checked)
	if len(a.DKIM) == 0 {
		add("dkim", email.None, nil)
	}
	for _, s := range a.DKIM {
		add("dkim", s.Result, map[string]string{"header.d": s.Domain, "header.s": s.Selector, "header.i": s.Identity})
	}
	add("dmarc", a.DMARC.Result, map[string]string{"header.from": a.DMARC.Domain, "policy.dmarc": a.DMARC.Policy})
	value := authres.Format(identity, list)
	// The library writes a space after a result without parameters.
	return strings.TrimSpace(strings.ReplaceAll(value, " ;", ";"))
}
