package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
)

const plain = "From: Ann <ann@example.org>\r\nTo: a@example.com\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n" +
	"Message-ID: <1@example.org>\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n\r\nHello\r\n"

func TestAMailIsOneEventWithItsRawBytes(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{PublicURL: "https://mail.example.com/"})
	w := hello(t, s)
	w.begin("A@Example.com")
	w.data(250, plain)
	got := mails(t, pool)
	require.Len(t, got, 1)
	d := got[0].Data
	require.Equal(t, plain+"\r\n", string(got[0].Raw))
	require.Equal(t, "Grüße", d.Subject)
	require.Equal(t, []email.Address{{Name: "Ann", Address: "ann@example.org"}}, d.From)
	require.Equal(t, []email.Address{{Address: "a@example.com"}}, d.To)
	require.Equal(t, email.Envelope{From: "sender@example.org", To: []string{"A@Example.com"}}, d.Envelope)
	require.NotNil(t, d.ReplyTo)
	require.Empty(t, d.ReplyTo)
	require.NotNil(t, d.Cc)
	require.Equal(t, "1@example.org", d.MessageIDHeader)
	require.Equal(t, "2026-01-02T15:04:05+01:00", d.Date)
	require.Contains(t, d.Text, "Hello")
	require.Equal(t, [2]string{"From", "Ann <ann@example.org>"}, d.Headers[0])
	require.Len(t, d.Headers, 5)
	require.Equal(t, "https://mail.example.com/v1/messages/"+got[0].Message+"/raw", d.RawURL)
	require.Empty(t, d.ParseError)
	require.NotContains(t, string(got[0].Envelope), "parse_error")
	require.Equal(t, []string{}, d.Truncated)
	require.Contains(t, string(got[0].Envelope), `"authentication":{"checked":false,"results":"","spf":{"result":"none",`)
}

func TestPartsBecomeTextHTMLAndAttachments(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.begin("a@example.com")
	w.bdat(250, []byte("From: x@example.org\r\nReply-To: r@example.org, R2 <r2@example.org>\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"+
		"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"+
		"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"+
		"--a\r\nContent-Type: text/html\r\n\r\n<p>a & b</p>\r\n--a--\r\n"+
		"--m\r\nContent-Type: text/plain; name=\"notes.txt\"\r\nContent-Disposition: attachment\r\n\r\nnotes\r\n"+
		"--m\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--m--\r\n"))
	d := mails(t, pool)[0].Data
	require.Empty(t, d.ParseError)
	require.Equal(t, "Grüße", strings.TrimSpace(d.Text))
	require.Equal(t, "<p>a & b</p>", strings.TrimSpace(d.HTML))
	require.Equal(t, []email.Address{{Address: "r@example.org"}, {Name: "R2", Address: "r2@example.org"}}, d.ReplyTo)
	require.Len(t, d.Attachments, 2)
	require.Equal(t, "notes.txt", d.Attachments[0].Filename)
	require.False(t, d.Attachments[0].Inline)
	require.Equal(t, email.Attachment{
		URL: "/v1/messages/" + d.MessageID + "/attachments/1", ContentType: "image/png", Size: 5, ContentID: "logo", Inline: true,
		SHA256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	}, d.Attachments[1])
}

// The parser's cases, sent by a real client: each is one event, and its bytes are kept.
func TestMailsOfTheWorldAreAccepted(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../mailparse/testdata/cases/*.eml")
	require.NoError(t, err)
	require.Greater(t, len(files), 30)
	pool, s := quick(t, ingest.Options{})
	c, err := smtp.Dial(s.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	unread := 0
	for i, f := range files {
		sent, err := os.ReadFile(f)
		require.NoError(t, err)
		sent = asSent(sent)
		// Some have no Message-ID and some are alike; an agent each keeps them apart.
		agent := fmt.Sprintf("corpus-%d@example.com", i)
		tenant(t, pool, agent)
		require.NoError(t, c.SendMail("sender@example.org", []string{agent}, bytes.NewReader(sent)), f)
		got := mails(t, pool)
		require.Len(t, got, i+1, f)
		last := got[i]
		require.Equal(t, sent, last.Raw, f)
		if last.Data.ParseError != "" {
			unread++
		}
	}
	require.Less(t, unread, len(files)/3, "most of the cases parse")
}

// asSent is a file as DATA carries it: line ends of CRLF, and one at the end.
func asSent(b []byte) []byte {
	b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), nil)
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		b = append(b, '\r', '\n')
	}
	return b
}

func TestHostileMailIsAcceptedMarkedAndKept(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	head := "From: x@example.org\r\nTo: a@example.com\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n"
	nested := strings.Builder{}
	nested.WriteString(head)
	for i := range 50 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	nested.WriteString("Content-Type: text/plain\r\n\r\ndeep\r\n")
	for i := 49; i >= 0; i-- {
		fmt.Fprintf(&nested, "--b%d--\r\n", i)
	}
	for _, c := range []struct {
		name, raw, says, text string
	}{
		{"empty", "", "empty", ""},
		{"garbage", "\x00\xff\xfe garbage \r\r\n\n\x01", "no fields", ""},
		{"no header", "just some words\r\n", "no fields", ""},
		{"only a body", "\r\nhello", "no From", "hello"},
		{"no From", "To: a@example.com\r\n\r\nhello", "no From", "hello"},
		{"8-bit header", head + "Subject: caf\xe9\r\n\r\nhello", "Subject is not UTF-8", "hello"},
		{"unclosed boundary", head + "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello", "Boundary", "hello"},
		{"boundary that never comes", head + "Content-Type: multipart/mixed; boundary=x\r\n\r\nhello\r\n", "nothing between", "hello"},
		{"multipart without a boundary", head + "Content-Type: multipart/mixed\r\n\r\nhello\r\n", "nothing between", "hello"},
		{"nested", nested.String(), "nested", "deep"},
		{"many parts", head + "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n", 200_000), "parts", ""},
		{"many boundaries", strings.ReplaceAll(strings.Repeat("From: x@example.org\r\nContent-Type: multipart/mixed; boundary=#\r\n\r\n--#\r\n", 150), "#", "b"), "", ""},
		{"NULs", head + "Subject: a\x00b\r\n\r\nhel\x00lo\x00", "", "hello"},
		{"bare LF", "From: x@example.org\nSubject: s\n\nhello\n.\nworld\n", "", "hello\n.\nworld"},
		{"lone CR", "From: x@example.org\r\n\r\na\rb", "", "a\rb"},
		{"one line of 3 MB", head + "\r\n" + strings.Repeat("x", 3<<20), "", "xxx"},
		{"one field of 3 MB", head + "Subject: " + strings.Repeat("y", 3<<20) + "\r\n\r\nhello", "header has over", ""},
		{"100,000 fields", head + strings.Repeat("X: y\r\n", 100_000) + "\r\nhello", "", "hello"},
		{"bad base64", head + "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\x00###=a=b", "", ""},
		{"unknown encoding", head + "Content-Transfer-Encoding: rot13\r\n\r\nuryyb", "Encoding", "uryyb"},
		{"unknown charset", head + "Content-Type: text/plain; charset=klingon\r\n\r\nnuqneH", "klingon", "nuqneH"},
		{"latin-1 that claims ASCII", head + "Content-Type: text/plain; charset=us-ascii\r\n\r\ncaf\xe9", "", "café"},
		{"UTF-8 that claims nothing", head + "\r\ncafé", "", "café"},
		{"broken addresses", "From: <<>>,, @@ x\r\nTo: good@example.org, bad bad <\r\n\r\n", "list of addresses", ""},
		{"broken Content-Type", head + "Content-Type: /;;=\x01\r\n\r\nhello", "", ""},
		{"broken date", "From: x@example.org\r\nDate: yesterday\r\n\r\nhello", "no date", "hello"},
		{"separators", head + "Subject: \u2028\u2029\r\n\r\n\x01\x02\u2028\"\\<>&", "", "<>&"},
	} {
		w := hello(t, s)
		w.begin("a@example.com")
		w.bdat(250, []byte(c.raw))
		got := mails(t, pool)
		last := got[len(got)-1]
		require.Len(t, last.Raw, len(c.raw), c.name)
		require.Equal(t, c.raw, string(last.Raw), c.name)
		require.Contains(t, last.Data.ParseError, c.says, c.name)
		if c.says == "" && c.text != "" {
			require.Empty(t, last.Data.ParseError, c.name)
		}
		require.Contains(t, last.Data.Text, c.text, c.name)
		_, err := pool.Exec(context.Background(), `TRUNCATE fanmail.outbox`)
		require.NoError(t, err)
	}
}

func TestDotsArriveAsTheyWereMeant(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.begin("a@example.com")
	raw := "From: x@example.org\r\n\r\n.\r\n..\r\n.hidden\r\n.\r\nend\n.\nafter a bare line"
	w.data(250, raw)
	require.Equal(t, raw+"\r\n", string(mails(t, pool)[0].Raw))
}

// Not in parallel: the race detector makes the parser slow enough.
func TestAMailOf25MBIsOneEventThatIsCut(t *testing.T) {
	pool, s := quick(t, ingest.Options{})
	raw := []byte("From: x@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n" +
		strings.Repeat("All work and no play. ü<&\"\r\n", 200_000) +
		"--x\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<p>\t</p>\r\n", 100_000) +
		"--x\r\nContent-Type: application/octet-stream; name=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := []byte(strings.Repeat("QUJD", 19) + "\r\n")
	for len(raw) < 25<<20 {
		raw = append(raw, line...)
	}
	raw = append(raw, "--x--\r\n"...)
	w := hello(t, s)
	w.begin("a@example.com")
	w.bdat(250, raw)
	got := mails(t, pool)
	require.Len(t, got, 1)
	require.True(t, bytes.Equal(raw, got[0].Raw))
	d := got[0].Data
	require.Empty(t, d.ParseError)
	require.Equal(t, []string{"text", "html"}, d.Truncated)
	require.Greater(t, len(d.Text), 90<<10, "both bodies get their share")
	require.Greater(t, len(d.HTML), 80<<10)
	require.Len(t, d.Attachments, 1)
	require.Greater(t, d.Attachments[0].Size, int64(10<<20))
	require.Greater(t, len(got[0].Envelope), 200<<10, "the room is used")
}

func TestLongFieldsAndListsAreCutAndNamed(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	var b strings.Builder
	b.WriteString("From: x@example.org\r\nSubject: " + strings.Repeat(`"`, 9000) + "\r\nTo: ")
	for i := range 5000 {
		fmt.Fprintf(&b, "u%d@example.com, ", i)
	}
	b.WriteString("a@example.com\r\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("v", 100))
	}
	b.WriteString("Content-Type: multipart/mixed; boundary=x\r\n\r\n")
	for i := range 900 {
		fmt.Fprintf(&b, "--x\r\nContent-Type: a/b; name=\"%d%s\"\r\n\r\n1\r\n", i, strings.Repeat("n", 900))
	}
	b.WriteString("--x--\r\n")
	w := hello(t, s)
	w.begin("a@example.com")
	w.bdat(250, []byte(b.String()))
	d := mails(t, pool)[0].Data
	require.Subset(t, d.Truncated, []string{"to", "subject", "headers", "attachments"})
	require.NotContains(t, d.Truncated, "text")
	require.Greater(t, len(d.To), 500)
	require.Greater(t, len(d.Headers), 150)
	require.Greater(t, len(d.Attachments), 50)
	require.Equal(t, "0"+strings.Repeat("n", 900), d.Attachments[0].Filename)
}
