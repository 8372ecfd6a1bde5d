package domaincheck

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"
	"syscall"
	"time"
)

const (
	// maxReplies bounds what a server may send in a conversation, certificates included.
	maxReplies = 1 << 20
	// expirySoon is a remaining validity that needs attention.
	expirySoon = 14 * 24 * time.Hour

	serverFix = "see the log of this server; ingest listens where --smtp-addr says"
)

// bounded ends a connection that sends too much.
type bounded struct {
	net.Conn
	rest io.Reader
}

func (b *bounded) Read(p []byte) (int, error) { return b.rest.Read(p) }

// talk checks the SMTP server at an address of host: that it answers, its certificate, and
// that it takes mail for the domain's postmaster.
func (k *checker) talk(ctx context.Context, r *report, host string, addr netip.Addr) {
	place := fmt.Sprintf("%s [%s]", name(host), addr)
	check := fmt.Sprintf("port %d of %s", k.Port, place)
	k.waiting("%s: a connection and the greeting", check)
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", netip.AddrPortFrom(addr, k.Port).String())
	switch {
	case err != nil && addr.Is6() && (errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL)):
		r.bad(Warn, check, "run the doctor on a machine with IPv6", "could not be tried: this machine has no IPv6")
		return
	case err != nil:
		r.bad(Fail, check, fmt.Sprintf("let ingest or a proxy listen on port %d of this address, and open the port in the firewall; if mail arrives, "+
			"this machine's network blocks connections to port %d: run the doctor elsewhere", k.Port, k.Port), "accepts no connection: %s", replyText(err))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, talkTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(io.LimitReader(conn, maxReplies))
	err = greets(in)
	var client *smtp.Client
	if err == nil {
		client, err = smtp.NewClient(&bounded{conn, in}, host)
	}
	if err == nil {
		err = client.Hello(literal(conn.LocalAddr()))
	}
	if err != nil {
		r.bad(Fail, check, "check which program listens there; "+serverFix, "does not greet as an SMTP server does: %s", replyText(err))
		return
	}
	r.ok(check, "an SMTP server answers")
	if k.certificate(r, client, host, place) {
		k.postmaster(r, client, place)
	}
	_ = client.Quit()
}

// greets returns an error if what a server sends first is no SMTP reply. The client would
// wait for the rest of what it takes for one.
func greets(in *bufio.Reader) error {
	first, err := in.Peek(3)
	if err != nil {
		return err
	}
	for _, c := range first {
		if c < '0' || c > '9' {
			sent, _ := in.Peek(in.Buffered())
			line, _, _ := bytes.Cut(sent, []byte("\n"))
			return textproto.ProtocolError(line)
		}
	}
	return nil
}

// literal is this end's address as the name in EHLO (RFC 5321, 4.1.3): the doctor may run
// on a machine without a name.
func literal(a net.Addr) string {
	tcp, err := netip.ParseAddrPort(a.String())
	switch {
	case err != nil:
		return "localhost"
	case tcp.Addr().Unmap().Is4():
		return "[" + tcp.Addr().Unmap().String() + "]"
	}
	return "[IPv6:" + tcp.Addr().WithZone("").String() + "]"
}

// certificate starts TLS and checks the certificate. It returns false if the connection is
// of no more use.
func (k *checker) certificate(r *report, client *smtp.Client, host, place string) bool {
	check := "certificate of " + place
	const set = "set --smtp-tls-cert and --smtp-tls-key of ingest (FANMAIL_SMTP_TLS_CERT, FANMAIL_SMTP_TLS_KEY)"
	if offered, _ := client.Extension("STARTTLS"); !offered {
		r.bad(Warn, check, set+" to a certificate for "+name(host), "the server offers no STARTTLS: mail arrives unencrypted, and senders that insist on TLS send none")
		return true
	}
	k.waiting("%s: the TLS handshake", place)
	//nolint:gosec // an invalid certificate is a finding and must not end the conversation; judge verifies it
	err := client.StartTLS(&tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		r.bad(Fail, check, set+" to a certificate and its key, and see the server's log", "STARTTLS fails: %s", replyText(err))
		return false
	}
	state, _ := client.TLSConnectionState()
	faults := judge(state.PeerCertificates, host, k.Roots, time.Now())
	leaf := state.PeerCertificates[0]
	if len(faults) > 0 {
		r.bad(Warn, check, "get a certificate for "+name(host)+" from a public authority, and "+set+"; a new file is read without a restart",
			"%s; senders that insist on a valid certificate (MTA-STS) send nothing", strings.Join(faults, "; "))
		return true
	}
	r.ok(check, "for %s, valid until %s", names(leaf.DNSNames), leaf.NotAfter.UTC().Format(time.DateOnly))
	return true
}

// judge returns what is wrong with the certificates of a server. The first is its own.
func judge(chain []*x509.Certificate, host string, roots *x509.CertPool, now time.Time) (faults []string) {
	leaf := chain[0]
	when := now
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	switch {
	case now.After(leaf.NotAfter):
		faults, when = append(faults, "it expired on "+day(leaf.NotAfter)), leaf.NotAfter
	case now.Before(leaf.NotBefore):
		faults, when = append(faults, "it is not valid before "+day(leaf.NotBefore)), leaf.NotBefore
	case now.Add(expirySoon).After(leaf.NotAfter):
		faults = append(faults, "it expires on "+day(leaf.NotAfter))
	}
	if leaf.VerifyHostname(host) != nil {
		of := names(leaf.DNSNames)
		if of == "" {
			of = "no host name"
		}
		faults = append(faults, "it is for "+of+", and not for "+name(host))
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: when}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		faults = append(faults, "no authority that this machine trusts has signed it ("+quoted(err.Error())+")")
	}
	return faults
}

// postmaster asks whether the server takes mail for the domain's postmaster, as RFC 5321
// demands. Where it does not, it takes no mail for the domain at all, or no agent does.
func (k *checker) postmaster(r *report, client *smtp.Client, place string) {
	check := "postmaster at " + place
	k.waiting("%s: the answer to RCPT TO:<postmaster@%s>", place, k.domain)
	err := client.Mail("")
	if err == nil {
		err = client.Rcpt("postmaster@" + k.domain)
	}
	if err == nil {
		r.ok(check, "mail to postmaster@%s is accepted", k.domain)
		return
	}
	fix := serverFix
	status := Fail
	if reply := (*textproto.Error)(nil); errors.As(err, &reply) && reply.Code >= 500 {
		fix = "run `fanmail agents create '*@" + k.domain + "'`, or set --postmaster of ingest (FANMAIL_POSTMASTER) to an agent; " +
			"if this server is not yours, correct the MX record"
	} else if reply != nil {
		status = Warn // it may take it later
	}
	r.bad(status, check, fix, "mail to postmaster@%s is not accepted: %s", k.domain, replyText(err))
}

// replyText returns the text of an error of a conversation, which may hold what the server
// sent.
func replyText(err error) string {
	var timeout net.Error
	var reply *textproto.Error
	var protocol textproto.ProtocolError
	var op *net.OpError
	switch {
	case errors.As(err, &reply):
		return quoted(fmt.Sprintf("%d %s", reply.Code, reply.Msg))
	case errors.As(err, &protocol):
		return quoted(string(protocol))
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF):
		return "the server closes the connection"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return quoted(err.Error())
}
