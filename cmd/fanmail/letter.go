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

// letter is a mail and its envelope.
type letter struct {
	name string
	from string
	to   []string
	raw  []byte // lines end in CRLF
}

// crlf ends every line in CRLF, as SMTP wants it.
func crlf(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

func newMessageID() string { return fmt.Sprintf("<%s@fanmail.invalid>", rand.Text()) }

// withMessageID gives a mail with this Message-ID instead of its own.
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

// postman is one SMTP connection.
type postman struct {
	c    *smtp.Client
	stop func() bool
}

// dialPostman connects to an SMTP server. The connection is cut when ctx ends.
func dialPostman(ctx context.Context, addr string) (*postman, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reach the SMTP server: %w", err)
	}
	return &postman{
		c:    smtp.NewClient(conn),
		stop: context.AfterFunc(ctx, func() { _ = conn.Close() }),
	}, nil
}

func (p *postman) quit() {
	p.stop()
	_ = p.c.Quit()
	_ = p.c.Close()
}

// deliver sends one mail and gives the server's words on accepting it.
func (p *postman) deliver(l letter) (string, error) {
	fault := func(step string, err error) error { return fmt.Errorf("send %s: %s: %w", l.name, step, err) }
	opts := &smtp.MailOptions{Size: int64(len(l.raw)), UTF8: !ascii(l.from) || !ascii(strings.Join(l.to, ""))}
	if err := p.c.Mail(l.from, opts); err != nil {
		return "", fault("from "+l.from, err)
	}
	for _, to := range l.to {
		if err := p.c.Rcpt(to, nil); err != nil {
			return "", fault("to "+to, err)
		}
	}
	w, err := p.c.Data()
	if err != nil {
		return "", fault("data", err)
	}
	if _, err := w.Write(l.raw); err != nil {
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
