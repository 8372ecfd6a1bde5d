package mailsearch

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// separators stand between addresses, and between a name and its address.
const separators = " ,;<>\"()\t\r\n"

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// Whole returns the form in which addresses are compared, and false for a text that is not one whole address without a
// name. Letters of either case are the same, also a domain in Unicode and in ASCII (xn--…), and a local part with and
// without quotation marks.
func Whole(address string) (string, bool) {
	local, domain, quoted := cutQuoted(address)
	if !quoted {
		at := strings.LastIndexByte(address, '@')
		if at < 0 || strings.ContainsAny(address[:at], separators+"@") {
			return fold(address), false
		}
		local, domain = address[:at], address[at+1:]
	}
	if local == "" || domain == "" || strings.ContainsAny(domain, separators+"@*") {
		return fold(address), false
	}
	return same(local, domain), true
}

// same returns the form of an address that is compared.
func same(local, domain string) string {
	local, domain = norm.NFC.String(strings.ToLower(norm.NFC.String(local))), strings.ToLower(domain)
	if strings.IndexFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) >= 0 {
		if wire, err := lookup.ToASCII(domain); err == nil {
			domain = wire
		} else {
			domain = norm.NFC.String(domain)
		}
	}
	return local + "@" + domain
}

var lookup = idna.New(idna.MapForLookup(), idna.StrictDomainName(false))

// mentions reports whether a text has an address, in the form of [Whole], as a word.
func mentions(s, whole string) bool {
	for s != "" {
		local, domain, quoted := cutQuoted(s)
		if !quoted {
			n := len(s)
			if at := strings.IndexAny(s, separators); at >= 0 {
				n = max(at, 1) // past a separator
			}
			if at := strings.LastIndexByte(s[:n], '@'); at > 0 && n <= maxWordBytes && same(s[:at], s[at+1:n]) == whole {
				return true
			}
			s = s[n:]
			continue
		}
		n := strings.IndexAny(domain, separators)
		if n < 0 {
			n = len(domain)
		}
		if n <= maxWordBytes && same(local, domain[:n]) == whole {
			return true
		}
		s = domain[n:]
	}
	return false
}

// maxWordBytes bounds what is compared with an address, which has 254 bytes at most: other forms of it are longer.
const maxWordBytes = 1 << 10

// cutQuoted cuts a text that begins with a quoted local part and an "@", and returns the local part without quotation
// marks and all that follows the "@".
func cutQuoted(s string) (local, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < min(len(s), maxWordBytes); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			rest, ok = strings.CutPrefix(s[i+1:], "@")
			return b.String(), rest, ok && b.Len() > 0
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
