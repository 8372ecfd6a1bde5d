package mailauth

import (
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// domainOf gives an address's domain.
func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return ascii(address[i+1:])
	}
	return ""
}

// ascii is a domain as it stands in DNS: A-labels in lower case without the
// dot at the end. "" is what no domain can be.
func ascii(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return a
	}
	// Underscores are not a host's, but they are DNS.
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

// organisation is the domain that was registered: the public suffix and a
// label. A public suffix itself is its own.
func organisation(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}

// strictness of an alignment; false is relaxed.
type strictness bool

func (s strictness) aligned(domain, author string) bool {
	if domain == "" || author == "" {
		return false
	}
	return domain == author || !bool(s) && organisation(domain) == organisation(author)
}
