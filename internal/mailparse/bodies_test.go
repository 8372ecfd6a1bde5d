package mailparse

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// build makes a mail of a structure: "mixed(t:One, f:a.pdf, h:<p>Two)". t and h are text and HTML, T and H the same
// with a file name, f a file, i an inline image, m a mail.
func build(spec string) string {
	n := 0
	return "From: a@x.example\r\nMIME-Version: 1.0\r\n" + buildPart(spec, &n)
}

func buildPart(spec string, n *int) string {
	if kind, inner, ok := strings.Cut(spec, "("); ok && !strings.Contains(kind, ":") {
		*n++
		b := fmt.Sprintf("b%d", *n)
		out := "Content-Type: multipart/" + kind + "; boundary=" + b + "\r\n\r\n"
		for _, p := range splitParts(strings.TrimSuffix(inner, ")")) {
			out += "--" + b + "\r\n" + buildPart(p, n) + "\r\n"
		}
		return out + "--" + b + "--\r\n"
	}
	kind, body, _ := strings.Cut(spec, ":")
	switch kind {
	case "t":
		return "Content-Type: text/plain; charset=utf-8\r\n\r\n" + body
	case "h":
		return "Content-Type: text/html; charset=utf-8\r\n\r\n" + body
	case "T":
		return "Content-Type: text/plain; charset=utf-8; name=body.txt\r\n\r\n" + body
	case "H":
		return "Content-Type: text/html; charset=utf-8; name=body.html\r\n\r\n" + body
	case "TI":
		return "Content-Type: text/plain; charset=utf-8; name=notes.txt\r\nContent-Disposition: inline; filename=notes.txt\r\n\r\n" + body
	case "TA":
		return "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment; filename=notes.txt\r\n\r\n" + body
	case "n":
		return "\r\n" + body
	case "na":
		return "Content-Disposition: attachment; filename=" + body + "\r\n\r\nhello"
	case "ni":
		return "Content-Disposition: inline; filename=" + body + "\r\n\r\nhello"
	case "nb":
		return "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\naGVsbG8="
	case "f":
		return "Content-Type: application/pdf; name=" + body + "\r\nContent-Disposition: inline; filename=" + body + "\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0="
	case "i":
		return "Content-Type: image/png\r\nContent-ID: <" + body + ">\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8="
	case "m":
		return "Content-Type: message/rfc822\r\n\r\nFrom: b@x.example\r\nSubject: " + body + "\r\n\r\ninner"
	}
	return "Content-Type: " + kind + "\r\n\r\n" + body
}

func splitParts(s string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

// What is shown of each structure, and what is attached.
func TestBodiesAreJoinedAsMailProgramsShowThem(t *testing.T) {
	t.Parallel()
	const pre = `<div style="white-space: pre-wrap">`
	for _, c := range []struct{ spec, text, html, files string }{
		{"t:One", "One", "", ""},
		{"h:<p>One", "One", "<p>One", ""},
		{"T:One", "One", "", ""},
		{"TI:One", "One", "", ""},
		{"TA:One", "", "", "notes.txt"},
		{"mixed(t:One, t:Two)", "One\nTwo", "", ""},
		{"mixed(n:One, n:Two)", "One\nTwo", "", ""},
		{"mixed(h:<p>One, h:<p>Two)", "One\nTwo", "<p>One\n<p>Two", ""},
		{"mixed(t:One, f:a.pdf, t:Two)", "One\nTwo", "", "a.pdf"},
		{"mixed(h:<p>One, f:a.pdf, h:<p>Two)", "One\nTwo", "<p>One\n<p>Two", "a.pdf"},
		{"mixed(t:One, h:<p>Two)", "One\nTwo", pre + "One</div>\n<p>Two", ""},
		{"mixed(h:<p>One, t:Two)", "One\nTwo", "<p>One\n" + pre + "Two</div>", ""},
		{"mixed(t:Same words, h:<p>Same <b>words</b>)", "Same words", "<p>Same <b>words</b>", ""},
		{"mixed(alternative(t:One, h:<p>One), t:Two)", "One\nTwo", "<p>One\n" + pre + "Two</div>", ""},
		{"mixed(alternative(t:One, h:<p>One), f:a.pdf, alternative(t:Two, h:<p>Two))", "One\nTwo", "<p>One\n<p>Two", "a.pdf"},
		{"alternative(t:One, h:<p>One)", "One", "<p>One", ""},
		{"alternative(h:<p>One, t:One)", "One", "<p>One", ""},
		{"alternative(T:One, H:<p>One)", "One", "<p>One", ""},
		{"alternative(h:<p>One)", "One", "<p>One", ""},
		{"alternative(t:One)", "One", "", ""},
		{"alternative(t: , h:<p>One)", "One", "<p>One", ""},
		{"alternative(t:One, related(h:<p>One, i:x))", "One", "<p>One", ":x"},
		{"related(alternative(t:One, h:<p>One), i:x)", "One", "<p>One", ":x"},
		{"alternative(related(t:One, i:y), related(h:<p>One, i:x))", "One", "<p>One", ":y :x"},
		{"alternative(t:One, mixed(h:<p>One, f:a.pdf, h:<p>Two))", "One", "<p>One\n<p>Two", "a.pdf"},
		{"alternative(mixed(t:One, f:a.pdf, t:Two), h:<p>All)", "One\nTwo", "<p>All", "a.pdf"},
		{"alternative(mixed(t:One, t:Two), mixed(h:<p>One, h:<p>Two))", "One\nTwo", "<p>One\n<p>Two", ""},
		{"alternative(mixed(t:One, f:a.pdf, t:Two), mixed(h:<p>One, f:b.pdf, h:<p>Two))", "One\nTwo", "<p>One\n<p>Two", "a.pdf b.pdf"},
		{"alternative(t:One, text/calendar:BEGIN, h:<p>One)", "One", "<p>One", "(text/calendar)"},
		{"alternative(t:One, text/x-amp-html:<html amp>, h:<p>One)", "One", "<p>One", "(text/x-amp-html)"},
		{"mixed(related(i:x, h:<p>One), t:Two)", "One\nTwo", "<p>One\n" + pre + "Two</div>", ":x"},
		{"mixed(t:One, TI:Two)", "One", "", "notes.txt"},
		{"mixed(t:One, TA:Two, t:Three)", "One\nThree", "", "notes.txt"},
		{"mixed(t:One, na:a.csv)", "One", "", "a.csv"},
		{"mixed(t:One, ni:a.csv)", "One", "", "a.csv"},
		{"mixed(t:One, nb:)", "One", "", "(application/octet-stream)"},
		{"mixed(na:a.csv, t:One)", "One", "", "a.csv"},
		{"mixed(t:One, m:Two)", "One", "", "(message/rfc822)"},
		{"mixed(t:One, image/png:x, text/csv:y)", "One", "", "(image/png) (text/csv)"},
		{"signed(t:One, application/pgp-signature:x)", "One", "", "(application/pgp-signature)"},
		{"report(t:One, message/delivery-status:x, m:Two)", "One", "", "(message/delivery-status) (message/rfc822)"},
		{"digest(n:From: b@x.example)", "", "", "(message/rfc822)"},
		{"strange(t:One, t:Two)", "One\nTwo", "", ""},
		{"application/pdf:x", "", "", "(application/pdf)"},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			m := Parse(context.Background(), []byte(build(c.spec)))
			require.Empty(t, m.Problem)
			require.Equal(t, c.text, even(strings.ReplaceAll(m.Text, "\n\n", "\n")))
			require.Equal(t, c.html, even(m.HTML))
			var files []string
			for _, a := range m.Attachments {
				name := a.Filename
				if name == "" && a.ContentID != "" {
					name = ":" + a.ContentID
				}
				if name == "" {
					name = "(" + a.ContentType + ")"
				}
				files = append(files, name)
			}
			require.Equal(t, c.files, strings.Join(files, " "))
		})
	}
}

func TestTextSaysWhereItComesFrom(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]bool{
		"t:One": false, "h:<p>One": true, "alternative(t:One, h:<p>One)": false, "alternative(t: , h:<p>One)": true, "mixed(t:One, h:<p>Two)": true,
		"mixed(t:Same, h:<p>Same)": false, "alternative(t:One, mixed(h:<p>One, h:<p>Two))": false, "h:<p>&nbsp;": false, "f:a.pdf": false,
	} {
		require.Equal(t, want, Parse(context.Background(), []byte(build(spec))).TextFromHTML, spec)
	}
}

func TestFlowedTextIsJoined(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a \r\nb\r\nc\r\n":           "a b\nc\n",
		"a  \r\nb":                   "a  b\n",
		"> a \r\n> b\r\nc \r\nd":     "> a b\nc d\n",
		"> a \r\n>> b \r\n>> c\r\nd": "> a \n>> b c\nd\n",
		" > no quote\r\n From here":  "> no quote\nFrom here\n",
		"a \r\n-- \r\nAnn":           "a \n-- \nAnn\n",
		"\r\n\r\na":                  "\n\na\n",
		"a\r\n\r\nb":                 "a\n\nb\n",
	} {
		require.Equal(t, want, unflow(in, false), "%q", in)
	}
	for in, want := range map[string]string{
		"the mail \r\nprogram":                                    "the mail program\n",
		"the mail  \r\nprogram":                                   "the mail program\n",
		"日本語の \r\n文章":                                             "日本語の文章\n",
		"https://x.example/" + strings.Repeat("a", 60) + " \r\nb": "https://x.example/" + strings.Repeat("a", 60) + "b\n",
		"> the mail  \r\n> program":                               "> the mail program\n",
	} {
		require.Equal(t, want, unflow(in, true), "%q", in)
	}
}

func TestTransferEncodingsAreUndone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ encoding, in, want string }{
		{"base64", "aGVsbG8=", "hello"},
		{"base64", "aGVs\r\nbG8", "hello"},
		{"BASE64", "aGVsbG8====", "hello"},
		{"base64 ", "aGVs\r\n\r\n bG8=\r\n", "hello"},
		{"base64;", "aGVsbG8=", "hello"},
		{"\"base64\"", "aGVsbG8=", "hello"},
		{"base64", "aGU=bGxv", "hello"},
		{"base64", "aGVsbG8=\r\n-- \r\n", "hello"},
		{"quoted-printable", "h=65llo=\r\n there", "hello there"},
		{"quoted-printable", "a =\r\nb", "a b"},
		{"quoted-printable", "a=  \r\nb", "ab"},
		{"quoted-printable", "a=3d=3Db", "a==b"},
		{"quoted-printable", "a=XY b=", "a=XY b="},
		{"Quoted-Printable", "a   \r\nb", "a\r\nb"},
		{"quoted-printable", "a=\nb", "ab"},
		{"x-uuencode", "begin 644 a.bin\r\n#0V%T\r\n`\r\nend\r\n", "Cat"},
		{"uuencode", "text before\r\nbegin 644 a\r\n#0V%T\r\n\r\nend", "Cat"},
		{"x-uue", "begin 0644 a b\n#0V%T\n \nend", "Cat"},
		{"x-uuencode", "begin 644 a\r\n$86)C\r\n#0V%T\r\nend", "abc\x00Cat"},
		{"7bit", "a=3D", "a=3D"},
		{"8bit", "a", "a"},
		{"binary", "a", "a"},
		{"", "a", "a"},
	} {
		raw := "From: a@x.example\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: " + c.encoding + "\r\n\r\n" + c.in
		a, content, err := ReadAttachment(context.Background(), []byte(raw), 0)
		require.NoError(t, err)
		require.Equal(t, c.want, string(content), "%s %q", c.encoding, c.in)
		require.EqualValues(t, len(c.want), a.Size)
	}
}

// Some programs say base64 of a text that they did not encode.
func TestATextThatIsNotEncodedAfterAllIsRead(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"Hello, this is: plain (text). It has dots, and more!\r\n": "Hello, this is: plain (text). It has dots, and more!\r\n",
		"aGVsbG8=\r\n": "hello", "aGVs\r\n-- bG8=": "hello",
	} {
		m := parsed("Content-Transfer-Encoding: base64\r\n", body)
		require.Equal(t, want, m.Text)
	}
	require.Equal(t, "ü", parsed("Content-Type: text/plain; charset=\"charset=iso-8859-1\"\r\n", "\xfc").Text)
}

func TestAFileUuencodedInTheTextIsAnAttachment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, text, files string }{
		{"Hi\r\n\r\nbegin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nBye\r\n", "Hi\n\nBye", "cat.txt"},
		{"begin 644 a b.txt\r\n#0V%T\r\nend\r\nbegin 600 c\r\n#0V%T\r\nend\r\n", "", "a b.txt c"},
		{"begin 644 cat.txt\r\nis how it begins\r\nend\r\n", "begin 644 cat.txt\nis how it begins\nend", ""},
		{"begin with this\r\nend\r\n", "begin with this\nend", ""},
		{"begin 644 cat.txt\r\n#0V%T\r\n", "begin 644 cat.txt\n#0V%T", ""},
	} {
		m := Parse(context.Background(), []byte("From: a@x.example\r\n\r\n"+c.body))
		require.Equal(t, c.text, even(m.Text))
		var files []string
		for _, a := range m.Attachments {
			files = append(files, a.Filename)
			require.EqualValues(t, 3, a.Size)
		}
		require.Equal(t, c.files, strings.Join(files, " "))
	}
}

func TestHTMLBecomesText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<p>Only <b>HTML</b> here.</p>":                                    "Only HTML here.",
		"<p class=x>One</p><p style='a'>Two</p>":                           "One\n\nTwo",
		"<div>One</div><div>Two</div>":                                     "One\nTwo",
		"<div>One</div><div><br></div><div>Two</div>":                      "One\n\nTwo",
		"One<br>Two<br/>Three<BR >Four":                                    "One\nTwo\nThree\nFour",
		"a<b>b</b>c <i>d</i>e":                                             "abc de",
		"a\r\n  b\tc&nbsp;d":                                               "a b c d",
		"<ul><li>One<li>Two<ul><li>Three</ul></ul>After":                   "- One\n- Two\n  - Three\n\nAfter",
		"<ol start=3><li>One</li><li>Two</li></ol>":                        "3. One\n4. Two",
		"<a href='https://x.example/a'>here</a>":                           "here <https://x.example/a>",
		"<a href='https://x.example/'>x.example</a>":                       "x.example",
		"<a href='mailto:a@x.example'>a@x.example</a>":                     "a@x.example",
		"<a href='#top'>up</a> <a href='javascript:x'>y</a> <a>z</a>":      "up y z",
		"<a href='https://x.example/'><img src=a></a>b":                    "b",
		"<img alt='A cat' src=x> <img src=y alt=''>":                       "[A cat]",
		"<style>p{}</style><script>x</script><title>T</title>a":            "a",
		"<head><title>T</title><style>x</style></head><body>a</body>":      "a",
		"<!-- c > d --><!--[if mso]><p>mso</p><![endif]-->a":               "a",
		"<div style='display: none'>hidden <div>x</div></div>a":            "a",
		"<span style='DISPLAY:none !important'>hidden</span>a":             "a",
		"<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>d": "a b\nc\n\nd",
		"<pre>a\n  b</pre>c":                                               "a\n  b\n\nc",
		"<blockquote>a<br>b<blockquote>c</blockquote></blockquote>d":       "> a\n> b\n>\n>> c\n\nd",
		"<h1>One</h1>Two<hr>Three":                                         "One\n\nTwo\n\nThree",
		"&lt;b&gt; &amp; &eacute; &#8364;":                                 "<b> & é €",
		"a\u200bb\u00adc\ufeff":                                            "abc",
		"<p>a<p>b":                                                         "a\n\nb",
		"a < b and c > d":                                                  "a < b and c > d",
		"<noscript>a</noscript><textarea>b</textarea>":                     "ab",
		"":              "",
		"<p>&nbsp;</p>": "",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, even(htmlToText(newBudget(context.Background(), 1<<20), in)))
		})
	}
}
