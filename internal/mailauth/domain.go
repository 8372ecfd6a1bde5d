package mailauth

import (
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// domainOf returns the domain of an address as [ascii] does; empty if it has none.
func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return ascii(address[i+1:])
	}
	return ""
}

// ascii returns a domain as DNS has it: A-labels in lower case without the final dot.
// It returns "" for an invalid domain.
func ascii(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return a
	}
	// IDNA refuses underscores, which host names may not have but other DNS names may.
	domain = strings.ToLower(domain)
	for _, c := range []byte(domain) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return ""
		}
	}
	if len(domain) > 253 {
		return ""
	}
	return domain
}

// organisation returns the organisational domain: the public suffix and one label. For a
// public suffix it returns the domain itself.
func organisation(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}

// strictness is an alignment mode: true is strict, false is relaxed.
type strictness bool

func (s strictness) aligned(domain, author string) bool {
	if domain == "" || author == "" {
		return false
	}
	return domain == author || !bool(s) && organisation(domain) == organisation(author)
}
