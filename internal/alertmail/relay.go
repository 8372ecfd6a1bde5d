package alertmail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// Security says how the connection to a relay is encrypted.
type Security int

// The values of [Security].
const (
	// StartTLS: the connection begins in clear, and nothing else is said before STARTTLS.
	StartTLS Security = iota
	// TLS from the first byte.
	TLS
	// Clear: not encrypted. Nobody signs in over it.
	Clear
)

// Relay is the SMTP server that sends the mails.
type Relay struct {
	Addr     string // host:port
	Security Security
	User     string // "": nobody signs in
	// Password, or the file that holds it, which is read for each connection.
	Password     secret.Text
	PasswordFile string
	// TLS is the configuration of TLS; nil: the system's authorities.
	TLS *tls.Config
}

const (
	// dialTimeout bounds the way to a relay that is ready for mail.
	dialTimeout = 30 * time.Second
	// commandTimeout bounds the wait for an answer. A mail has a few commands, so
	// that it is done before its lease ends.
	commandTimeout = 30 * time.Second
)

// Reason is a kind of failure: one of a closed set.
type Reason string

// The reasons. A relay's faults have the same names in package health.
const (
	Unreachable Reason = "unreachable"
	Untrusted   Reason = "tls"
	Credentials Reason = "credentials"
	Sender      Reason = "sender"
	Recipients  Reason = "recipients"
	Message     Reason = "message"
)

// Error is a failure to send, with its reason.
type Error struct {
	Reason Reason
	// Temporary says that the same may succeed later.
	Temporary bool
	Err       error
}

// Error says what was refused.
func (e *Error) Error() string {
	doing := map[Reason]string{
		Unreachable: "reach the relay for mails", Untrusted: "encrypt the connection to the relay for mails",
		Credentials: "sign in to the relay for mails", Sender: "send a mail from this address",
		Recipients: "send a mail to these addresses", Message: "send a mail",
	}
	return doing[e.Reason] + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fault names the entry of the table of faults.
func (e *Error) Fault() (party, code string) { return "relay", string(e.Reason) }

// fails wraps an error of a step. An answer of 5xx is permanent.
func fails(reason Reason, err error) error {
	var answer *smtp.SMTPError
	if errors.As(err, &answer) {
		return &Error{Reason: reason, Temporary: answer.Temporary(), Err: err}
	}
	return &Error{Reason: reason, Temporary: true, Err: err}
}

// refuses wraps the error of a command of a mail. Without an answer the connection is
// lost.
func refuses(reason Reason, err error) error {
	var answer *smtp.SMTPError
	if !errors.As(err, &answer) {
		reason = Unreachable
	}
	return fails(reason, err)
}

// dial returns a connection that is ready for mails. The caller closes it.
func (r *Relay) dial(ctx context.Context) (*smtp.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %s", dialTimeout))
	defer cancel()
	host, _, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return nil, fails(Unreachable, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return nil, fails(Unreachable, err)
	}
	// The client takes no context; closing the connection ends what it waits for.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, err := r.secure(ctx, conn, host)
	if err == nil {
		err = r.signIn(c)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, fails(Unreachable, context.Cause(ctx))
		}
		return nil, err
	}
	return c, nil
}

// secure returns a client that has said EHLO on an encrypted connection.
func (r *Relay) secure(ctx context.Context, conn net.Conn, host string) (*smtp.Client, error) {
	config := r.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = host
	var c *smtp.Client
	switch r.Security {
	case TLS:
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, fails(Untrusted, err)
		}
		c = smtp.NewClient(encrypted)
	case StartTLS:
		var err error
		if c, err = smtp.NewClientStartTLS(conn, config); err != nil {
			return nil, fails(beforeTLS(err), err)
		}
	case Clear:
		c = smtp.NewClient(conn)
	}
	c.CommandTimeout, c.SubmissionTimeout = commandTimeout, 2*commandTimeout
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if err := c.Hello(name); err != nil {
		var answer *smtp.SMTPError
		if r.Security == StartTLS && !errors.As(err, &answer) {
			return nil, fails(Untrusted, err) // the handshake is made with the first command
		}
		return nil, fails(Unreachable, err)
	}
	return c, nil
}

// beforeTLS returns the reason of an error of STARTTLS: whether the relay was reached at
// all, or does not offer it.
func beforeTLS(err error) Reason {
	var answer *smtp.SMTPError
	var network net.Error
	if errors.As(err, &answer) || errors.As(err, &network) || errors.Is(err, io.EOF) {
		return Unreachable
	}
	return Untrusted
}

// signIn authenticates by PLAIN, or by LOGIN if the relay offers nothing else.
func (r *Relay) signIn(c *smtp.Client) error {
	if r.User == "" {
		return nil
	}
	if r.Security == Clear {
		return &Error{Reason: Credentials, Err: errors.New("a password is never sent in clear")}
	}
	password, err := r.password()
	if err != nil {
		return fails(Credentials, err)
	}
	var how sasl.Client
	switch {
	case c.SupportsAuth(sasl.Plain):
		how = sasl.NewPlainClient("", r.User, password)
	case c.SupportsAuth(sasl.Login):
		how = sasl.NewLoginClient(r.User, password)
	default:
		return &Error{Reason: Credentials, Err: errors.New("it offers neither AUTH PLAIN nor AUTH LOGIN")}
	}
	if err := c.Auth(how); err != nil {
		return fails(Credentials, err)
	}
	return nil
}

func (r *Relay) password() (string, error) {
	if r.PasswordFile == "" {
		return r.Password.Reveal(), nil
	}
	text, err := os.ReadFile(r.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// Check connects, signs in and leaves. The error is an [*Error].
func (r *Relay) Check(ctx context.Context) error {
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	_ = c.Quit()
	return nil
}

// send hands a mail over for all recipients. It succeeds if the relay takes it for at
// least one of them. refused are those that it does not take for good. The error is an
// [*Error]; of [Recipients] and [Message], the connection is ready for the next mail.
func send(c *smtp.Client, from string, to []string, message []byte) (refused []string, err error) {
	if err := c.Mail(from, nil); err != nil {
		return nil, refuses(Sender, err)
	}
	var last error
	for _, address := range to {
		err := c.Rcpt(address, nil)
		if err == nil {
			continue
		}
		last = refuses(Recipients, err)
		var e *Error
		if errors.As(last, &e) && e.Temporary {
			return nil, afterReset(c, last)
		}
		refused = append(refused, address)
	}
	if len(refused) == len(to) {
		return refused, afterReset(c, last)
	}
	w, err := c.Data()
	if err != nil {
		return refused, afterReset(c, refuses(Message, err))
	}
	if _, err := w.Write(message); err != nil {
		return refused, refuses(Message, err)
	}
	if err := w.Close(); err != nil {
		return refused, refuses(Message, err)
	}
	return refused, nil
}

// afterReset ends the mail that was begun. It returns the error that ended it, or that
// the connection is lost.
func afterReset(c *smtp.Client, err error) error {
	if lost := c.Reset(); lost != nil {
		return refuses(Unreachable, lost)
	}
	return err
}
