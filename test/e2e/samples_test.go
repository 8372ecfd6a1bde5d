package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/jhillyerd/enmime/v2" // a MIME library, for the mails that it is tested with
	"github.com/stretchr/testify/require"
)

// sample is a mail of the corpus.
type sample struct {
	name string
	raw  []byte
	// times it is sent; 0 means once.
	times int
	// unreadable in part or as a whole; its event must say so.
	unreadable bool
}

// canonical is the mail as DATA carries it: every line ends in CRLF, also the last one.
func canonical(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		raw = append(raw, "\r\n"...)
	}
	return raw
}

// corpus is every mail in the module of a MIME library.
func corpus(ctx context.Context, t testing.TB) []sample {
	t.Helper()
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime/v2").Output()
	require.NoError(t, err)
	root := strings.TrimSpace(string(dir))
	var out []sample
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".raw", ".golden"}, filepath.Ext(path)) {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			return err
		}
		if key := string(canonical(raw)); !seen[key] {
			seen[key] = true
			name, err := filepath.Rel(root, path)
			out = append(out, sample{name: name, raw: raw})
			return err
		}
		return nil
	}))
	require.Greater(t, len(out), 100, "the corpus in %s", root)
	return out
}

// hostile are mails that only an attacker would write.
func hostile() []sample {
	const head = "From: <a@example.net>\r\nTo: <b@example.com>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
	noise := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise) // never fails
	text := func(name, raw string) sample { return sample{name: name, raw: []byte(raw)} }
	unreadable := func(name, raw string) sample { return sample{name: name, raw: []byte(raw), unreadable: true} }
	again := text("sent three times", head+"Message-ID: <again@example.net>\r\n\r\nOnce is enough.\r\n")
	again.times = 3
	anonymous := text("sent twice without an id", head+"\r\nNo Message-ID, but a Date.\r\n")
	anonymous.times = 2

	return []sample{
		again,
		anonymous,
		text("a Message-ID", head+"Message-ID: <same@example.net>\r\n\r\nOne text.\r\n"),
		text("the same Message-ID, another text", head+"Message-ID: <same@example.net>\r\n\r\nAnother text.\r\n"),
		text("the same Message-ID, another subject", head+"Message-ID: <same@example.net>\r\nSubject: x\r\n\r\nOne text.\r\n"),
		unreadable("empty", ""),
		unreadable("blank lines", "\r\n\r\n"),
		unreadable("binary garbage", string(noise)),
		unreadable("NULs only", strings.Repeat("\x00", 4096)),
		text("NULs in the body", head+"\r\nNUL \x00 and \x00\x00 again.\r\n"),
		text("NULs in the header", head+"Subject: a\x00b\r\nMessage-ID: <nul\x00@example.net>\r\n\r\nx\r\n"),
		unreadable("8-bit header in Latin-1", head+"Subject: Gr\xfc\xdfe\r\nX-\xfc: y\r\n\r\n\xe4\xf6\xfc\r\n"),
		text("8-bit header in UTF-8", head+"Subject: Grüße 😀\r\n\r\n😀\r\n"),
		unreadable("no From", "To: <b@example.com>\r\nSubject: Who?\r\n\r\nx\r\n"),
		unreadable("no header", "Just a text.\r\n\r\nAnd more of it.\r\n"),
		text("no body", head+"Subject: Nothing to say\r\n"),
		unreadable("boundary that never comes", head+"Content-Type: multipart/mixed; boundary=never\r\n\r\nNothing of the kind.\r\n"),
		unreadable("boundary without an end", head+"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c"),
		text("boundary of itself", head+"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--\r\n"),
		unreadable("nested 50 deep", head+nested(50)),
		text("10,000 parts", head+"Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat("--b\r\n\r\nx\r\n", 10_000)+"--b--\r\n"),
		text("10,000 fields", head+fields(10_000)+"\r\nx\r\n"),
		text("a field of 2 MB", head+"Subject: "+strings.Repeat("long ", 400_000)+"\r\n\r\nx\r\n"),
		text("a line of 2 MB", head+"\r\n"+strings.Repeat("x", 2<<20)+"\r\n"),
		text("dots", head+"\r\n.\r\n..\r\n.x\r\n...\r\n"),
		text("commands in the text", head+"\r\n\r\n.\r \n.\n\nMAIL FROM:<x@example.net>\r\nQUIT\r\n"),
		text("encoded words without end", head+"Subject: =?utf-8?q?"+strings.Repeat("=?utf-8?b?", 2000)+"\r\n\r\nx\r\n"),
		unreadable("a broken base64", head+"Content-Type: application/pdf; name=\"../../etc/passwd\"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!====AAAA\r\n"),
		unreadable("a charset and an encoding of its own", head+"Content-Type: text/plain; charset=x-klingon\r\nContent-Transfer-Encoding: x-none\r\n\r\n\xff\xfe\r\n"),
		text("scripts", head+"Subject: </script><script>alert(1)</script>\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\u2028\r\n"),
		{name: "an attachment of 25 MB", raw: attached(head, noise, 25_000_000)},
	}
}

// nested is a mail's type and body, with multiparts inside multiparts.
func nested(depth int) string {
	var b strings.Builder
	for n := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", n, n)
	}
	b.WriteString("\r\nThe innermost.\r\n")
	for n := depth - 1; n >= 0; n-- {
		fmt.Fprintf(&b, "--b%d--\r\n", n)
	}
	return b.String()
}

func fields(count int) string {
	var b strings.Builder
	for n := range count {
		fmt.Fprintf(&b, "X-Field-%d: %d\r\n", n, n)
	}
	return b.String()
}

// attached is a mail with an attachment of so many bytes, in base64.
func attached(head string, from []byte, size int) []byte {
	b := bytes.NewBufferString(head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the file.\r\n--b\r\n" +
		"Content-Type: application/octet-stream; name=large.bin\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	const line = 57 // 76 characters in base64
	for n := 0; n < size; n += line {
		at := n % (len(from) - line)
		b.WriteString(base64.StdEncoding.EncodeToString(from[at : at+min(line, size-n)]))
		b.WriteString("\r\n")
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}
