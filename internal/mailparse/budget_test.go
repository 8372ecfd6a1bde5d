package mailparse

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAParserThatBreaksDownIsAProblemOfTheMail(t *testing.T) {
	t.Parallel()
	b := newBudget(context.Background(), 0)
	b.guard("body", func() { panic("at the disco") })
	require.Contains(t, b.problem(), "broke down: at the disco")
}

// A real mail takes a few steps a byte; a mail of any shape at most this many, so that the budget never ends a real
// one.
const (
	mostStepsPerByte = 40
	mostStepsAtLeast = 64 << 10
)

// shapes are mails of n repeated elements: nested, unclosed, mixed, and long in every field.
func shapes() map[string]func(n int) string {
	const head = "From: a@example.org\r\n"
	multipart := func(kind string, i int) string {
		return fmt.Sprintf("Content-Type: multipart/%s; boundary=b%d\r\n\r\n--b%d\r\n", kind, i, i)
	}
	each := func(n int, of func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(of(i))
		}
		return b.String()
	}
	return map[string]func(n int) string{
		"nested, never closed": func(n int) string {
			return head + each(n, func(i int) string { return multipart("mixed", i) }) + "\r\ndeep\r\n"
		},
		"nested, closed": func(n int) string {
			return head + each(n, func(i int) string { return multipart("mixed", i) }) + "\r\ndeep\r\n" + each(n, func(i int) string { return fmt.Sprintf("--b%d--\r\n", n-1-i) })
		},
		"nested twice in each": func(n int) string {
			return head + each(n, func(i int) string { return multipart("alternative", i) + "\r\nx\r\n--b" + fmt.Sprint(i) + "\r\n" }) + "\r\nx"
		},
		"nested in one boundary": func(n int) string {
			return head + each(n, func(int) string { return multipart("mixed", 0) })
		},
		"related in related": func(n int) string {
			return head + each(n, func(i int) string { return multipart("related", i) + "\r\nx\r\n--b" + fmt.Sprint(i) + "\r\n" })
		},
		"mails in mails": func(n int) string {
			return head + each(n, func(int) string { return "Content-Type: message/rfc822\r\n\r\n" }) + "Subject: x\r\n\r\nx"
		},
		"mails and multiparts": func(n int) string {
			return head + each(n, func(i int) string { return multipart("digest", i) + "\r\nFrom: x@y\r\n" })
		},
		"parts": func(n int) string {
			return head + multipart("mixed", 0) + each(n, func(int) string { return "\r\nx\r\n--b0\r\n" })
		},
		"parts without a header": func(n int) string { return head + multipart("mixed", 0) + strings.Repeat("--b0\r\n", n) },
		"lines that are almost a boundary": func(n int) string {
			return head + multipart("mixed", 0) + strings.Repeat("--b0"+strings.Repeat("-", 100)+"\r\n", n)
		},
		"fields of a part": func(n int) string {
			return head + multipart("mixed", 0) + strings.Repeat("X: y\r\n", n) + "\r\nx"
		},
		"fields":        func(n int) string { return head + strings.Repeat("X: y\r\n", n) + "\r\nx" },
		"addresses":     func(n int) string { return head + "To: " + strings.Repeat("Ann (x) <a@b>, ", n) + "\r\n\r\nx" },
		"open brackets": func(n int) string { return head + "To: " + strings.Repeat("<(\"", n) + "\r\n\r\nx" },
		"open quotes":   func(n int) string { return head + "To: " + strings.Repeat("\"a\\\" =?", n) + "\r\n\r\nx" },
		"encoded words": func(n int) string { return head + "Subject: " + strings.Repeat("=?utf-8?q?=", n) + "\r\n\r\nx" },
		"parameters": func(n int) string {
			return head + "Content-Type: text/plain" + strings.Repeat("; a*0=\"x\" \"", n) + "\r\n\r\nx"
		},
		"quotations":    func(n int) string { return head + "\r\n" + strings.Repeat("On 1.1.2024 a wrote:\r\n> x\r\ny\r\n", n) },
		"quoted lines":  func(n int) string { return head + "\r\n" + strings.Repeat("> x\r\n", n) + "y" },
		"attributions":  func(n int) string { return head + "\r\n" + strings.Repeat("On 1.1.2024 a wrote:\r\n", n) },
		"header blocks": func(n int) string { return head + "\r\n" + strings.Repeat("From: a@b\r\n", n) },
		"flowed quotations": func(n int) string {
			return head + "Content-Type: text/plain; format=flowed\r\n\r\n" + each(n, func(i int) string { return strings.Repeat(">", i%100) + " x \r\n" })
		},
		"HTML quotations": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\n" + strings.Repeat("<blockquote type=cite><p>x", n)
		},
		"HTML attributes": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\n<p" + strings.Repeat(" style=x", n) + ">x"
		},
		"HTML lists": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\n" + strings.Repeat("<ol><li>x<a href='http://x'>", n)
		},
		"HTML left open": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\n" + strings.Repeat("<!--<a href=\"", n)
		},
		"files in the text": func(n int) string { return head + "\r\n" + strings.Repeat("begin 644 a\r\n#0V%T\r\n", n) },
		"base64": func(n int) string {
			return head + "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("=A=", n)
		},
		"quoted-printable": func(n int) string {
			return head + "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat("=\r\n", n)
		},
		"lines of dashes": func(n int) string { return head + "\r\n" + strings.Repeat(strings.Repeat("-", 100)+"\r\n", n) },
		"HTML blockquotes": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\n" + strings.Repeat("x ", 900) + strings.Repeat("<blockquote>", n)
		},
		"HTML in HTML quotes": func(n int) string {
			return head + "Content-Type: text/html\r\n\r\nx" + strings.Repeat("<div class=gmail_quote>x</div>", n)
		},
		"reports": func(n int) string {
			return head + "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" + strings.Repeat("A: b\r\n\r\n", n)
		},
		"calendars": func(n int) string {
			return head + "Content-Type: text/calendar\r\n\r\n" + strings.Repeat("BEGIN:VEVENT\r\n", n)
		},
		"UTF-7": func(n int) string {
			return head + "Content-Type: text/plain; charset=utf-7\r\n\r\n" + strings.Repeat("+A", n)
		},
	}
}

// What a mail costs grows with its size and with nothing else.
func TestWorkIsLinearInTheSizeOfAMail(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before float64
			for n := 16; n <= 16<<10; n *= 4 {
				raw := []byte(shape(n))
				m := Parse(context.Background(), raw)
				require.NotContains(t, m.Problem, "the limit for its size")
				require.LessOrEqual(t, m.Steps, int64(mostStepsPerByte*len(raw)+mostStepsAtLeast), "%d bytes", len(raw))
				rate := float64(m.Steps) / float64(len(raw))
				if n > 256 {
					require.Less(t, rate, 1.5*before+1, "steps a byte at %d, and at a quarter of it", n)
				}
				before = rate
			}
		})
	}
}

func TestABudgetEndsTheWork(t *testing.T) {
	t.Parallel()
	b := newBudget(context.Background(), 100)
	require.True(t, b.spend(int(b.limit)))
	require.False(t, b.spend(1))
	require.False(t, b.spend(0), "and it stays so")
	require.Contains(t, b.problem(), "steps: the limit for its size")
	ctx, cancel := context.WithCancel(context.Background())
	b = newBudget(ctx, 1<<30)
	require.True(t, b.spend(1))
	cancel()
	require.True(t, b.spend(askEvery/2))
	require.False(t, b.spend(askEvery))
	require.Contains(t, b.problem(), "too long")
}

// FuzzWorkIsLinear repeats pieces of mails, and fails where the work grows faster than the size.
func FuzzWorkIsLinear(f *testing.F) {
	for _, shape := range shapes() {
		whole := shape(8)
		f.Add([]byte(whole[:len(whole)/4]), []byte(shape(2)), []byte(whole[len(whole)/2:]))
	}
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"), []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"), []byte("--b--\r\n"))
	f.Fuzz(func(t *testing.T, before, again, after []byte) {
		if len(before)+len(again)+len(after) > 4<<10 {
			return
		}
		for _, n := range []int{1, 8, 64} {
			raw := append(append(bytes.Clone(before), bytes.Repeat(again, n)...), after...)
			m := Parse(context.Background(), raw)
			if most := int64(mostStepsPerByte*len(raw) + mostStepsAtLeast); m.Steps > most {
				t.Fatalf("%d steps for %d bytes", m.Steps, len(raw))
			}
		}
	})
}
