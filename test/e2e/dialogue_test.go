package e2e_test

import (
	"context"
	"net"
	"net/textproto"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialogue is one SMTP connection, written by hand: DATA with lines, and BDAT byte for byte, which the
// client library lacks.
type dialogue struct {
	t testing.TB
	c *textproto.Conn
}

func dialSMTP(ctx context.Context, t testing.TB, addr string) *dialogue {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	require.NoError(t, err)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	require.NoError(t, conn.SetDeadline(deadline))
	d := &dialogue{t, textproto.NewConn(conn)}
	t.Cleanup(func() { _ = d.c.Close() })
	d.expect(220, "the greeting")
	d.say(250, "EHLO sender.example.net")
	return d
}

func (d *dialogue) expect(code int, what string) {
	d.t.Helper()
	_, _, err := d.c.ReadResponse(code)
	require.NoError(d.t, err, what)
}

func (d *dialogue) say(code int, command string) {
	d.t.Helper()
	require.NoError(d.t, d.c.PrintfLine("%s", command))
	d.expect(code, command)
}

func (d *dialogue) begin(to string) {
	d.t.Helper()
	d.say(250, "MAIL FROM:<sender@example.net> BODY=8BITMIME")
	d.say(250, "RCPT TO:<"+to+">")
}

// data sends the mail in its canonical form.
func (d *dialogue) data(to string, l sample) {
	d.t.Helper()
	d.begin(to)
	d.say(354, "DATA")
	w := d.c.DotWriter()
	_, err := w.Write(canonical(l.raw))
	require.NoError(d.t, err, l.name)
	require.NoError(d.t, w.Close(), l.name)
	d.expect(250, l.name+" by DATA")
}

// bdat sends the mail as it is, in two chunks.
func (d *dialogue) bdat(to string, l sample) {
	d.t.Helper()
	d.begin(to)
	half := len(l.raw) / 2
	d.chunk(l.raw[:half], "", l.name)
	d.chunk(l.raw[half:], " LAST", l.name)
}

func (d *dialogue) chunk(b []byte, last, name string) {
	d.t.Helper()
	require.NoError(d.t, d.c.PrintfLine("BDAT %d%s", len(b), last))
	_, err := d.c.W.Write(b)
	require.NoError(d.t, err, name)
	require.NoError(d.t, d.c.W.Flush(), name)
	d.expect(250, name+" by BDAT")
}

func (d *dialogue) quit() {
	d.t.Helper()
	d.say(221, "QUIT")
}
