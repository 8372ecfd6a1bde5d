package app

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/domaincheck"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxHosts bounds the hosts of webhooks that are looked up.
const maxHosts = 50

// MailDomain names a mail domain for [Diagnose] to check.
type MailDomain struct {
	Domain    string `name:"domain" placeholder:"NAME" help:"Check a mail domain too: whose it is, MX, addresses, PTR, the SMTP servers with their certificates, SPF and DMARC."`
	DNSServer string `name:"dns-server" env:"FANMAIL_DNS_SERVER" placeholder:"HOST:PORT" help:"DNS server for the checks of --domain; without it the system's servers are used."`

	// SMTPPort is the port of the SMTP servers; 0: 25. Only tests set another.
	SMTPPort uint16 `kong:"-"`
	// Roots are the authorities whose certificates are valid; nil: the system's.
	Roots *x509.CertPool `kong:"-"`
	// Waiting is called before each wait with what it is for. It may be nil. It is called
	// by several goroutines.
	Waiting func(what string) `kong:"-"`
}

// hosts looks up the hosts of webhooks, as a dispatcher on this machine would.
func (e *examination) hosts(ctx context.Context, conn *pgx.Conn) {
	authorities, err := subscribers.Hosts(ctx, conn, maxHosts)
	if err != nil {
		e.add("DNS", FindingFail, "see the server's log", "the webhooks could not be read: %w", err)
		return
	}
	var lost []string
	looked := 0
	for _, a := range authorities {
		u, err := url.Parse("https://" + a)
		if err != nil || u.Hostname() == "" {
			continue
		}
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			continue
		}
		looked++
		if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname()); err != nil {
			lost = append(lost, u.Hostname())
		}
	}
	if len(lost) > 0 {
		e.add("DNS", FindingWarn, "check this machine's resolver; if it finds other names, tell the webhooks' owners", "%d of %d hosts of webhooks are not found: %s", len(lost), looked, strings.Join(lost, ", "))
		return
	}
	e.add("DNS", FindingOK, "", "%d hosts of webhooks, all found", looked)
}

// standing checks whose a mail domain is, and whether an agent takes its mail.
func (e *examination) standing(ctx context.Context, conn *pgx.Conn, domain string) {
	const check = "domain"
	name, err := mailbox.CleanDomain(domain)
	if domain == "" || err != nil { // mailDomain reports the error
		return
	}
	found, err := mailbox.DomainStanding(ctx, conn, name)
	if err != nil {
		e.add(check, FindingFail, remedy(err, "see the server's log"), "%s could not be looked up here: %w", name, err)
		return
	}
	add := "run `fanmail domains create " + name + "`, or as an operator `fanmail domains create " + name + " --tenant TENANT`"
	switch {
	case len(found.Claims) == 0:
		e.add(check, FindingFail, add, "%s is not added: it can have no agents", name)
		return
	case found.Claims[0].VerifiedAt == nil:
		d := found.Claims[0]
		e.add(check, FindingFail, "publish the TXT record that `fanmail domains get "+d.Name+"` shows, then run `fanmail domains verify "+d.Name+"`",
			"%s is added by tenant %s and not verified: it can have no agents", d.Name, d.TenantID)
		return
	}
	owner := found.Claims[0]
	by := ""
	switch owner.Name {
	case name:
	case mailbox.EveryDomain:
		by = ", which has every domain without another owner"
	default:
		by = ", which has " + owner.Name
	}
	switch {
	case found.CatchAll:
		e.add(check, FindingOK, "", "%s belongs to tenant %s%s; the agent *@%s takes all its mail", name, owner.TenantID, by, name)
	case found.Agents:
		e.add(check, FindingOK, "", "%s belongs to tenant %s%s; it has agents, and mail to other addresses is refused", name, owner.TenantID, by)
	default:
		e.add(check, FindingFail, "run `fanmail agents create '*@"+name+"'`, or create an agent for one address", "%s belongs to tenant %s%s, and has no agent: all its mail is refused", name, owner.TenantID, by)
	}
}

// mailDomain checks what DNS and the SMTP servers say of a mail domain.
func (e *examination) mailDomain(ctx context.Context, c MailDomain) {
	if c.Domain == "" {
		return
	}
	name, err := mailbox.CleanDomain(c.Domain)
	if err != nil {
		e.add("domain", FindingFail, "give --domain the part of an address after the @, such as example.com", "%q is not a mail domain", c.Domain)
		return
	}
	if c.DNSServer != "" {
		if err := address(c.DNSServer, "--dns-server", "FANMAIL_DNS_SERVER"); err != nil {
			e.add("DNS", FindingFail, "correct --dns-server (FANMAIL_DNS_SERVER)", "%w", err)
			return
		}
	}
	for _, f := range domaincheck.Check(ctx, name, domaincheck.Config{DNSServer: c.DNSServer, Port: c.SMTPPort, Roots: c.Roots, Waiting: c.Waiting}) {
		e.found = append(e.found, Finding(f))
	}
}
