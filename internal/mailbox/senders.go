package mailbox

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/fanmail-dev/fanmail/events"
)

// MaxSenders is how many entries a list of senders may have.
const MaxSenders = 1000

// SenderRules say from whom an agent accepts mail. The zero value accepts all mail.
type SenderRules struct {
	// Allow and Deny have entries as [CleanSenders] returns them. An empty Allow allows every author.
	Allow, Deny []string
	// RequireDMARC accepts only mail of which the author's domain passes DMARC.
	RequireDMARC bool
}

// Equal reports whether two sets of rules are the same.
func (r SenderRules) Equal(o SenderRules) bool {
	return r.RequireDMARC == o.RequireDMARC && slices.Equal(r.Allow, o.Allow) && slices.Equal(r.Deny, o.Deny)
}

// Allows reports whether the list of allowed senders has every author of a mail. A mail without an author is allowed
// only where there is no list.
func (r SenderRules) Allows(authors []string) bool {
	if len(r.Allow) == 0 {
		return true
	}
	return len(authors) > 0 && !slices.ContainsFunc(authors, func(a string) bool { return !hasSender(r.Allow, a) })
}

// Denies reports whether the list of denied senders has one of the addresses.
func (r SenderRules) Denies(addresses ...string) bool {
	return len(r.Deny) > 0 && slices.ContainsFunc(addresses, func(a string) bool { return hasSender(r.Deny, a) })
}

// hasSender reports whether a sorted list has the address, its domain, or a domain above that with all its subdomains.
func hasSender(list []string, address string) bool {
	has := func(entry string) bool {
		_, found := slices.BinarySearch(list, entry)
		return found
	}
	local, domain, ok := cutAddress(address)
	if !ok {
		return false
	}
	domain = wireDomain(domain)
	if has(Fold(unquote(local)+"@"+domain)) || has("@"+domain) {
		return true
	}
	for {
		_, above, ok := strings.Cut(domain, ".")
		if !ok {
			return false
		}
		if domain = above; has("*." + domain) {
			return true
		}
	}
}

// wireDomain is a sender's domain as lists have it. A domain that IDNA does not allow is in lower case only.
func wireDomain(domain string) string {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if !ascii(domain) {
		if wire, err := idna.Lookup.ToASCII(domain); err == nil {
			return wire
		}
	}
	return domain
}

// unquote takes the quotes off a local part that needs none: "bob"@example.com is bob@example.com (RFC 5321, 4.1.2).
func unquote(local string) string {
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return local
	}
	var b strings.Builder
	for in := local[1 : len(local)-1]; in != ""; in = in[1:] {
		if in[0] == '\\' && len(in) > 1 {
			in = in[1:]
		}
		b.WriteByte(in[0])
	}
	plain := b.String()
	if a, err := mail.ParseAddress(plain + "@example.com"); err != nil || a.Address != plain+"@example.com" {
		return local
	}
	return plain
}

// CleanSenders returns a list of senders as it is stored: sorted, each entry once. An entry is an address, @example.com
// for a domain, or *.example.com for all subdomains of one. A wrong list is an [*events.FieldError] of the field.
func CleanSenders(field string, list []string) ([]string, error) {
	if len(list) > MaxSenders {
		return nil, &events.FieldError{Field: field, Reason: fmt.Sprintf("has %d entries; the limit is %d", len(list), MaxSenders)}
	}
	out := make([]string, 0, len(list))
	for i, entry := range list {
		clean, err := cleanSender(strings.TrimSpace(entry))
		if err != nil {
			return nil, &events.FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Reason: "is no address like name@example.com, no @example.com and no *.example.com"}
		}
		out = append(out, clean)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func cleanSender(entry string) (string, error) {
	for _, prefix := range []string{"@", "*."} {
		if domain, ok := strings.CutPrefix(entry, prefix); ok {
			clean, err := CleanDomain(domain)
			return prefix + clean, err
		}
	}
	if local, domain, ok := cutAddress(entry); ok {
		entry = unquote(local) + "@" + strings.TrimSuffix(domain, ".")
	}
	if strings.HasPrefix(entry, everyName+"@") { // an agent's form of a domain
		return cleanSender(strings.TrimPrefix(entry, everyName))
	}
	return cleanAddress(entry)
}
