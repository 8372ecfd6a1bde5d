package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// message is a mail with its SMTP envelope.
type message struct {
	name string
	from string
	to   []string
	raw  []byte // lines end in CRLF
}

// crlf ends every line in CRLF, as SMTP requires.
func crlf(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

func newMessageID() string { return fmt.Sprintf("<%s@fanmail.invalid>", rand.Text()) }

// withMessageID replaces the Message-ID of a mail.
func withMessageID(raw []byte, id string) []byte {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var out bytes.Buffer
	out.Grow(len(raw) + len(id) + 16)
	fmt.Fprintf(&out, "Message-ID: %s\r\n", id)
	skipping := false
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if !folded {
			name, _, _ := strings.Cut(string(line), ":")
			skipping = strings.EqualFold(strings.TrimSpace(name), "Message-ID")
		}
		if !skipping && len(line) > 0 {
			out.Write(line)
			out.WriteString("\r\n")
		}
	}
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

// mailer is one SMTP connection.
type mailer struct {
	client *smtp.Client
	stop   func() bool
}

// greetTime bounds the wait for an SMTP server's greeting. A server of another
// protocol, such as HTTP, sends none.
const greetTime = 5 * time.Second

// dialSMTP connects to an SMTP server and waits for its greeting. The end of ctx
// closes the connection.
func dialSMTP(ctx context.Context, addr string) (*mailer, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reach the SMTP server: %w", err)
	}
	m := &mailer{client: smtp.NewClient(conn), stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	commandTime := m.client.CommandTimeout
	m.client.CommandTimeout = greetTime
	if err := m.client.Hello("localhost"); err != nil {
		m.stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s did not greet like an SMTP server within %s: %w; is it the address of one?", addr, greetTime, err)
	}
	m.client.CommandTimeout = commandTime
	return m, nil
}

func (m *mailer) quit() {
	m.stop()
	_ = m.client.Quit()
	_ = m.client.Close()
}

// send sends one mail and returns the server's text after the status 250.
func (m *mailer) send(mail message) (string, error) {
	fault := func(step string, err error) error { return fmt.Errorf("send %s: %s: %w", mail.name, step, err) }
	opts := &smtp.MailOptions{Size: int64(len(mail.raw)), UTF8: !ascii(mail.from) || !ascii(strings.Join(mail.to, ""))}
	if err := m.client.Mail(mail.from, opts); err != nil {
		return "", fault("from "+mail.from, err)
	}
	for _, to := range mail.to {
		if err := m.client.Rcpt(to, nil); err != nil {
			return "", fault("to "+to, err)
		}
	}
	w, err := m.client.Data()
	if err != nil {
		return "", fault("data", err)
	}
	if _, err := w.Write(mail.raw); err != nil {
		return "", fault("data", err)
	}
	answer, err := w.CloseWithResponse()
	if err != nil {
		return "", fault("data", err)
	}
	return answer.StatusText, nil
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}
