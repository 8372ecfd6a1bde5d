package mailparse

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mailmanFooter is what Mailman appends.
const mailmanFooter = "_______________________________________________\r\nTalk mailing list -- talk@lists.example\r\n" +
	"To unsubscribe send an email to talk-leave@lists.example\r\nhttps://lists.example/options?user=ab12cd&x=E9t\r\n"

// encoded is base64 in lines, as mail has it.
func encoded(s string) string {
	code := base64.StdEncoding.EncodeToString([]byte(s))
	var out strings.Builder
	for len(code) > 76 {
		out.WriteString(code[:76] + "\r\n")
		code = code[76:]
	}
	return out.String() + code
}

// TestAFooterThatIsNotEncodedSpoilsNoText appends footers to encoded texts, as lists and gateways do.
func TestAFooterThatIsNotEncodedSpoilsNoText(t *testing.T) {
	t.Parallel()
	short, long := "Café um zwölf?\r\n", strings.Repeat("Grüße aus Zürich, und noch viel mehr.\r\n", 40)
	for name, c := range map[string]struct{ kind, encoding, content, want string }{
		"base64":            {"text/plain; charset=utf-8", "base64", encoded(short) + "\r\n" + mailmanFooter, short + mailmanFooter},
		"base64 of lines":   {"text/plain; charset=utf-8", "base64", encoded(long) + "\r\n" + mailmanFooter, long + mailmanFooter},
		"blank line":        {"text/plain; charset=utf-8", "base64", encoded(long) + "\r\n\r\n" + mailmanFooter, long + mailmanFooter},
		"same line":         {"text/plain; charset=utf-8", "base64", encoded(short+"!") + mailmanFooter, short + "!\n" + mailmanFooter},
		"words alone":       {"text/plain; charset=utf-8", "base64", encoded(short) + "\r\nUnsubscribe\r\nwith a mail to us\r\n", short + "Unsubscribe\r\nwith a mail to us\r\n"},
		"one line":          {"text/plain; charset=utf-8", "base64", encoded(long) + "\r\n-- sent by a list\r\n", long + "-- sent by a list\r\n"},
		"without a break":   {"text/plain; charset=utf-8", "base64", encoded("no line end") + "\r\n" + mailmanFooter, "no line end\n" + mailmanFooter},
		"utf-16":            {"text/plain; charset=utf-16le", "base64", encoded("h\x00i\x00") + "\r\n" + mailmanFooter, "hi\n" + mailmanFooter},
		"latin-1 footer":    {"text/plain; charset=utf-8", "base64", encoded(short) + "\r\n____________\r\nR\xe9siliation\r\n", short + "____________\r\nRésiliation\r\n"},
		"utf-8 footer":      {"text/plain; charset=iso-8859-1", "base64", encoded("Caf\xe9\r\n") + "\r\n____________\r\nRésiliation\r\n", "Café\r\n____________\r\nRésiliation\r\n"},
		"two texts":         {"text/plain; charset=utf-8", "base64", encoded(short) + "\r\n" + encoded(short), short + short},
		"no base64 at all":  {"text/plain; charset=utf-8", "base64", "Hello, this is no base64.\r\nNot at all.\r\n", "Hello, this is no base64.\r\nNot at all.\r\n"},
		"quoted":            {"text/plain; charset=utf-8", "quoted-printable", "Caf=C3=A9?=\r\n um zw=C3=B6lf\r\n" + mailmanFooter, "Café? um zwölf\r\n" + mailmanFooter},
		"quoted, encoded":   {"text/plain; charset=utf-8", "quoted-printable", "Caf=C3=A9\r\n____________\r\nhttps://x.example/?a=3Db&c=3DE9\r\n", "Café\r\n____________\r\nhttps://x.example/?a=b&c=E9\r\n"},
		"quoted, 8 bits":    {"text/plain; charset=utf-8", "quoted-printable", "Caf=C3=A9\r\n____________\r\nR\xe9siliation\r\n", "Café\r\n____________\r\nRésiliation\r\n"},
		"not encoded":       {"text/plain; charset=utf-8", "8bit", "Café\r\n____________\r\nR\xe9siliation d\xe9j\xe0\r\n", "Café\r\n____________\r\nRésiliation déjà\r\n"},
		"not encoded, utf8": {"text/plain; charset=iso-8859-15", "8bit", "Caf\xe9 \xa4\r\n____________\r\nRésiliation\r\n", "Café €\r\n____________\r\nRésiliation\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := Parse(context.Background(), []byte("From: a@example.com\r\nContent-Type: "+c.kind+"\r\nContent-Transfer-Encoding: "+c.encoding+"\r\n\r\n"+c.content))
			require.Equal(t, c.want, m.Text)
		})
	}
}

// TestAFooterBehindHTMLIsShown has footers of text and of HTML.
func TestAFooterBehindHTMLIsShown(t *testing.T) {
	t.Parallel()
	for _, footer := range []string{mailmanFooter, "<hr><p>Talk mailing list -- talk@lists.example</p>\r\n"} {
		m := Parse(context.Background(), []byte("From: a@example.com\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"+
			encoded("<p>Café</p>")+"\r\n"+footer))
		require.Contains(t, m.HTML, "<p>Café</p>\n<")
		require.Contains(t, m.HTML, "Talk mailing list -- talk@lists.example")
		require.Contains(t, m.Text, "Café\n")
		require.Contains(t, m.Text, "Talk mailing list -- talk@lists.example")
		require.NotContains(t, m.Text, "<")
		require.Empty(t, m.Problem)
	}
}

// TestAFooterIsNoPartOfAFile appends a footer to a mail that is a file, and base64 with damage to another.
func TestAFooterIsNoPartOfAFile(t *testing.T) {
	t.Parallel()
	file := strings.Repeat("%PDF-1.7\x00\xff", 100)
	sum := sha256.Sum256([]byte(file))
	code := encoded(file)
	damaged := code[:100] + "\r\n*** a virus scanner ***\r\n" + code[100:]
	for _, content := range []string{code, code + "\r\n" + mailmanFooter, damaged} {
		m := Parse(context.Background(), []byte("From: a@example.com\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"+content))
		require.Len(t, m.Attachments, 1)
		if !strings.Contains(content, "virus") {
			require.Equal(t, hex.EncodeToString(sum[:]), m.Attachments[0].SHA256)
		} else {
			require.GreaterOrEqual(t, int(m.Attachments[0].Size), len(file), "nothing behind the damage is lost")
		}
		require.Equal(t, content == code, m.Problem == "")
	}
}
