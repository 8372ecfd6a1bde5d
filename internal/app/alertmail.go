package app

import (
	"context"
	"fmt"
	"net"
	"net/mail"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/alertmail"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// AlertMail configures mails about failing webhooks.
type AlertMail struct {
	Relay        secret.Text `name:"alert-relay" env:"FANMAIL_ALERT_RELAY" placeholder:"URL" help:"SMTP relay for mails to tenants' alert addresses about failing webhooks: smtp://USER@HOST:587 begins with STARTTLS, smtps://USER@HOST:465 with TLS; smtp://HOST:25?tls=off is in clear. Without it no mail is sent."`
	PasswordFile string      `name:"alert-relay-password-file" env:"FANMAIL_ALERT_RELAY_PASSWORD_FILE" placeholder:"FILE" help:"File with the password of the relay's user, read for each connection. Without it the URL may have one, smtp://USER:PASSWORD@HOST."`
	From         string      `name:"alert-from" env:"FANMAIL_ALERT_FROM" placeholder:"ADDRESS" help:"Sender of these mails, such as alerts@example.com: a mailbox that somebody reads. Required with --alert-relay."`
	PublicURL    string      `name:"public-url" env:"FANMAIL_PUBLIC_URL" placeholder:"URL" help:"URL at which browsers reach the console, for links in mails about failing webhooks. Without it they have none."`
}

// options returns nil where no relay is set. It connects to nothing.
func (c *AlertMail) options() (*alertmail.Options, error) {
	if c.Relay == "" {
		return nil, nil //nolint:nilnil // no relay is no error
	}
	bad := func(why string) error { return wrong("--alert-relay", "FANMAIL_ALERT_RELAY", why) }
	u, err := c.Relay.URL("smtp", "smtps")
	switch {
	case err != nil:
		return nil, bad(err.Error())
	case u.Hostname() == "" || (u.Path != "" && u.Path != "/"):
		return nil, bad("must be a host and a port, such as smtp://relay.example.com:587")
	case u.RawQuery != "" && (u.RawQuery != "tls=off" || u.Scheme != "smtp"):
		return nil, bad("has a parameter other than tls=off of smtp://")
	}
	o := &alertmail.Options{PublicURL: c.PublicURL}
	o.Relay.PasswordFile = c.PasswordFile
	port := "587"
	switch {
	case u.Scheme == "smtps":
		o.Relay.Security, port = alertmail.TLS, "465"
	case u.RawQuery != "":
		o.Relay.Security, port = alertmail.Clear, "25"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	o.Relay.Addr = net.JoinHostPort(u.Hostname(), port)
	password, inURL := u.User.Password()
	o.Relay.User, o.Relay.Password = u.User.Username(), secret.Text(password)
	switch {
	case o.Relay.User != "" && o.Relay.Security == alertmail.Clear:
		return nil, bad("has a user and tls=off: a password is never sent in clear")
	case inURL && c.PasswordFile != "":
		return nil, wrong("--alert-relay and --alert-relay-password-file", "FANMAIL_ALERT_RELAY, FANMAIL_ALERT_RELAY_PASSWORD_FILE", "both hold a password; set one")
	case (inURL || c.PasswordFile != "") != (o.Relay.User != ""):
		return nil, bad("must have a user and a password, in the URL or in --alert-relay-password-file (FANMAIL_ALERT_RELAY_PASSWORD_FILE), or neither")
	}
	if err := readable(c.PasswordFile, "--alert-relay-password-file", "FANMAIL_ALERT_RELAY_PASSWORD_FILE"); err != nil {
		return nil, err
	}
	if o.From, err = mail.ParseAddress(c.From); err != nil {
		return nil, wrong("--alert-from", "FANMAIL_ALERT_FROM", "must be an address such as alerts@example.com, which is required with --alert-relay")
	}
	return o, publicURL(c.PublicURL)
}

func (c *AlertMail) validate() error {
	_, err := c.options()
	return err
}

// addAlertMail adds the component that sends mails, where a relay is set. While the relay
// is away the process works: deliveries need no relay.
func (p *process) addAlertMail(c AlertMail) error {
	o, err := c.options()
	if err != nil || o == nil {
		return err
	}
	const name = "alert mail"
	component := p.state.registry.Component(name, false, 0)
	o.Log, o.Registerer = p.log, p.registry
	o.Report = func(err error) {
		if component.Report(err) && err == nil {
			p.log.Info("the relay takes mails again", zap.String("component", name))
		}
	}
	p.add(name, alertmail.New(p.pool, *o).Run)
	return nil
}

// relayTimeout bounds the doctor's try of the relay.
const relayTimeout = 10 * time.Second

// alertRelay connects to the relay and signs in.
func (e *examination) alertRelay(ctx context.Context, c AlertMail) {
	const check = "alert relay"
	o, err := c.options()
	if err != nil {
		e.add(check, FindingFail, "correct the setting", "%w", err)
		return
	}
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, relayTimeout, fmt.Errorf("no answer within %s", relayTimeout))
	defer cancel()
	if err := o.Relay.Check(ctx); err != nil {
		e.add(check, FindingFail, remedy(err, "correct --alert-relay (FANMAIL_ALERT_RELAY)"), "%w", err)
		return
	}
	e.add(check, FindingOK, "", "%s takes mails", o.Relay.Addr)
}
