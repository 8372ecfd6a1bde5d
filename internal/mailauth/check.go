package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of the words in a result, in bytes. A domain has at most 253.
const (
	maxDomainBytes   = 255
	maxIdentityBytes = 320
	maxReasonBytes   = 200
)

// Mail is what is looked at. Nothing of it is changed.
type Mail struct {
	// ClientIP is where the mail came from.
	ClientIP netip.Addr
	// Helo is the name by which the client greeted.
	Helo string
	// From is the return path, "" for the null sender.
	From string
	// Header are the fields in order, [name, unfolded value].
	Header [][2]string
	// Authors are the addresses in the From fields.
	Authors []string
	// Raw is the whole mail.
	Raw []byte
}

// all gives the values of a field.
func (m *Mail) all(name string) []string {
	var out []string
	for _, f := range m.Header {
		if strings.EqualFold(f[0], name) {
			out = append(out, f[1])
		}
	}
	return out
}

// Checker checks mails. It is safe for concurrent use.
type Checker struct {
	dns      *net.Resolver
	identity string
	timeout  time.Duration
}

// New makes a checker that signs its results as identity, the name of this
// host. server is the DNS server, "host:port"; "" asks the system's. timeout
// bounds the check of one mail.
func New(identity, server string, timeout time.Duration) *Checker {
	return &Checker{dns: newResolver(server), identity: identity, timeout: timeout}
}

// errSlow is the end of a check's time.
var errSlow = errors.New("the checks took too long")

// Check returns the authentication results. more says that the mail has more DKIM signatures
// than are looked at.
func (c *Checker) Check(ctx context.Context, m Mail) (a email.Authentication, more bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	r := &resolver{ask: c.dns}
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

// broke catches the panic of a library on a mail that it did not expect.
func broke(result *email.Result, reason *string) {
	if p := recover(); p != nil { //nolint:revive // it is deferred itself
		*result, *reason = email.PermError, clean(fmt.Sprintf("the verifier broke down: %v", p), maxReasonBytes)
	}
}

// clean makes a word of a stranger's fit for an event and for a person's eyes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") // half a rune at the end
	}
	return s
}

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
