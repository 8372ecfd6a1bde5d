package mailbox

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"github.com/fanmail-dev/fanmail/events"
)

// maxAddressBytes is the length of a path in RFC 5321 (256) without its angle
// brackets.
const maxAddressBytes = 254

// Fold returns the form of an address in which agents are stored and compared:
// lower case, normalization form C, and the domain in ASCII (xn--…). An address
// that no agent can have is returned as it is, and then matches none.
func Fold(address string) string {
	if folded, ok := fold(address); ok {
		return folded
	}
	return address
}

// fold returns the folded form of an address, and false for one that no agent can have.
func fold(address string) (string, bool) {
	local, domain, ok := cutAddress(address)
	if !ok || imitatesASCII(address) {
		return "", false
	}
	local = norm.NFC.String(strings.ToLower(norm.NFC.String(local)))
	if ascii(domain) {
		return local + "@" + strings.ToLower(domain), true
	}
	wire, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", false
	}
	return local + "@" + wire, true
}

func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "", false
	}
	return address[:at], address[at+1:], true
}

// cleanAddress returns the folded address, or an [*events.FieldError].
func cleanAddress(address string) (string, error) {
	fault := func(format string, args ...any) error {
		return &events.FieldError{Field: "address", Reason: fmt.Sprintf(format, args...)}
	}
	if len(address) > maxAddressBytes {
		return "", fault("has %d bytes; the limit is %d", len(address), maxAddressBytes)
	}
	a, err := mail.ParseAddress(address)
	if err != nil || a.Name != "" || a.Address != address {
		return "", fault("is not a mail address like name@example.com")
	}
	local, domain, _ := cutAddress(address)
	if local == everyName {
		if _, err := CleanDomain(domain); err != nil {
			return "", fault("names no domain after *@, such as *@example.com")
		}
	}
	if imitatesASCII(address) {
		return "", fault("holds a character that other systems take for an ASCII one")
	}
	if !ascii(local) {
		if _, err := precis.UsernameCasePreserved.String(local); err != nil {
			return "", fault("holds a character that RFC 8265 does not allow in a name")
		}
	}
	if !ascii(domain) {
		if _, err := idna.Lookup.ToASCII(domain); err != nil {
			return "", fault("has a domain that IDNA does not allow")
		}
	}
	if address = Fold(address); len(address) > maxAddressBytes {
		return "", fault("has %d bytes with its domain in ASCII; the limit is %d", len(address), maxAddressBytes)
	}
	return address, nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// imitatesASCII reports whether a text holds a character outside ASCII of which a
// change of case or a compatibility mapping makes an ASCII one. U+212A (Kelvin) and U+0130 are
// such characters: folded, they would be somebody else's k and i.
func imitatesASCII(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		if r <= unicode.MaxASCII {
			return false
		}
		if r == '\u3002' || r == '\uff61' { // IDNA takes these full stops for a dot
			return true
		}
		for _, as := range []rune{r, unicode.ToLower(r), unicode.ToUpper(r), unicode.SimpleFold(r)} {
			if strings.ContainsFunc(norm.NFKC.String(string(as)), func(r rune) bool { return r <= unicode.MaxASCII }) {
				return true
			}
		}
		return false
	})
}
