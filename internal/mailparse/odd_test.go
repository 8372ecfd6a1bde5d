package mailparse

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOddMails has mails that break a rule, as programs that nobody tests write them, and what mail clients show.
func TestOddMails(t *testing.T) {
	t.Parallel()
	date := func(v string) string { return header("From: a@example.com\nDate: " + v) }
	typed := func(kind, body string) string { return "From: a@example.com\nContent-Type: " + kind + "\n\n" + body }
	for name, c := range map[string]struct {
		raw  string
		want saying
	}{
		// Senders.
		"no brackets":        {header("From: \"Doe, Jane\" jane@example.com"), saying{from: "Doe, Jane <jane@example.com>"}},
		"word, no brackets":  {header("From: =?utf-8?Q?J=C3=BCrgen?= jane@example.com"), saying{from: "Jürgen <jane@example.com>"}},
		"comma at the end":   {header("From: Jane Doe <jane@example.com>,"), saying{from: "Jane Doe <jane@example.com>"}},
		"name behind":        {header("From: <jane@example.com> Jane Doe"), saying{from: "Jane Doe <jane@example.com>"}},
		"comment within":     {header("From: Jane (work) Doe <jane@example.com>"), saying{from: "Jane Doe <jane@example.com>"}},
		"bracket left open":  {header("From: Jane Doe <jane@example.com"), saying{from: "Jane Doe <jane@example.com>"}},
		"bracket not opened": {header("From: Jane Doe jane@example.com>"), saying{from: "Jane Doe <jane@example.com>"}},
		"apostrophes":        {header("From: 'jane@example.com' <jane@example.com>"), saying{from: "'jane@example.com' <jane@example.com>"}},
		"quoted local":       {header("From: Jane <\"jane\"@example.com>"), saying{from: "Jane <jane@example.com>"}},
		"group of one":       {header("From: Team: jane@example.com;"), saying{from: "<jane@example.com>"}},
		"semicolon names":    {header("From: a@example.com\nTo: Doe; Jane <jane@example.com>"), saying{to: "Jane <jane@example.com>"}},
		"many":               {header("From: a@example.com\nTo: a@x.example b@x.example"), saying{to: "<a@x.example> | <b@x.example>"}},
		"dots":               {header("From: J. R. R. Tolkien <jrr@example.com>"), saying{from: "J. R. R. Tolkien <jrr@example.com>"}},
		"at in name":         {header("From: Jane @ Work <jane@example.com>"), saying{from: "Jane @ Work <jane@example.com>"}},
		"quotes encoded":     {header("From: \"=?utf-8?B?w4RubmE=?= Doe\" <a@example.com>"), saying{from: "Änna Doe <a@example.com>"}},
		"tab":                {header("From:\tJane\t<jane@example.com>"), saying{from: "Jane <jane@example.com>"}},
		// Subjects.
		"spaces in words": {header("From: a@example.com\nSubject: =?UTF-8?Q?a_?= =?UTF-8?Q?_b?="), saying{subject: "a  b"}},
		"emoji":           {header("From: a@example.com\nSubject: =?utf-8?q?=F0=9F=98=80_hi?="), saying{subject: "😀 hi"}},
		"raw":             {header("From: a@example.com\nSubject: Grüße 日本"), saying{subject: "Grüße 日本"}},
		"space in Q":      {header("From: a@example.com\nSubject: =?utf-8?Q?Hello World=21?="), saying{subject: "Hello World!"}},
		"no end":          {header("From: a@example.com\nSubject: =?utf-8?Q?Hello"), saying{subject: "=?utf-8?Q?Hello"}},
		"only a start":    {header("From: a@example.com\nSubject: what =? is this"), saying{subject: "what =? is this"}},
		"split surrogate": {header("From: a@example.com\nSubject: =?utf-8?B?8J+Y?= =?utf-8?B?gA==?="), saying{subject: "😀"}},
		"lower b":         {header("From: a@example.com\nSubject: =?utf-8?b?w6k=?="), saying{subject: "é"}},
		"in brackets":     {header("From: a@example.com\nSubject: [=?utf-8?Q?=C3=A9?=] x"), saying{subject: "[é] x"}},
		"empty word":      {header("From: a@example.com\nSubject: =?utf-8?Q??= x"), saying{subject: "x"}},
		"two subjects":    {header("From: a@example.com\nSubject: one\nSubject: two"), saying{subject: "one"}},
		// Dates.
		"comment":        {date("Fri, 05 Jan 2024 10:00:00 +0100 (MEZ)"), saying{date: "2024-01-05T09:00:00Z"}},
		"no seconds":     {date("Fri, 5 Jan 2024 10:00 +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"rfc 3339":       {date("2024-01-05T10:00:00Z"), saying{date: "2024-01-05T10:00:00Z"}},
		"rfc 3339 space": {date("2024-01-05 10:00:00 +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"cest":           {date("5 Jul 2024 10:00:00 CEST"), saying{date: "2024-07-05T08:00:00Z"}},
		"long":           {date("Friday, 5 January 2024 10:00:00 AM +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"colon zone":     {date("Fri, 05 Jan 2024 10:00:00 +01:00"), saying{date: "2024-01-05T09:00:00Z"}},
		"ut":             {date("Fri, 05 Jan 2024 10:00:00 UT"), saying{date: "2024-01-05T10:00:00Z"}},
		"dashes":         {date("05-Jan-2024 10:00:00 +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"american":       {date("Jan 5, 2024 10:00:00 AM -0500"), saying{date: "2024-01-05T15:00:00Z"}},
		"fraction":       {date("Fri, 05 Jan 2024 10:00:00.123 +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"no day 31":      {date("Fri, 31 Feb 2024 10:00:00 +0100"), saying{date: "-"}},
		"no hour 25":     {date("Fri, 05 Jan 2024 25:00:00 +0100"), saying{date: "-"}},
		"wrong weekday":  {date("Mon, 05 Jan 2024 10:00:00 +0100"), saying{date: "2024-01-05T09:00:00Z"}},
		"minus zero":     {date("Fri, 05 Jan 2024 10:00:00 -0000"), saying{date: "2024-01-05T10:00:00Z"}},
		// Types and structures.
		"semicolons":       {typed("text/plain; charset=utf-8;", "é\n"), saying{text: "é"}},
		"no space":         {typed("TEXT/HTML;CHARSET=\"UTF-8\"", "<p>é</p>\n"), saying{text: "é"}},
		"space around =":   {typed("text/plain; charset = \"iso-8859-1\"", "\xe9\n"), saying{text: "é"}},
		"comment in type":  {typed("text/plain (a comment); charset=iso-8859-1", "\xe9\n"), saying{text: "é"}},
		"single quotes":    {typed("text/plain; charset='iso-8859-1'", "\xe9\n"), saying{text: "é"}},
		"space boundary":   {typed("multipart/mixed; boundary=foo bar", "--foo bar\n\none\n--foo bar--\n"), saying{text: "one"}},
		"= in boundary":    {typed("multipart/mixed; boundary==_Part_1", "--=_Part_1\n\none\n--=_Part_1--\n"), saying{text: "one"}},
		"dashes at end":    {typed("multipart/mixed; boundary=\"b--\"", "--b--\n\none\n--b----\n"), saying{text: "one"}},
		"preamble":         {typed("multipart/mixed; boundary=b", "This is MIME.\n--b\n\none\n--b--\nbye\n"), saying{text: "one"}},
		"no parts":         {typed("multipart/mixed; boundary=b", "just text\n"), saying{text: "just text"}},
		"other boundary":   {typed("multipart/mixed; boundary=b", "--c\nContent-Type: text/plain\n\none\n--c--\n"), saying{text: "--c\nContent-Type: text/plain\n\none\n--c--"}},
		"meta charset":     {typed("text/html", "<html><head><meta charset=\"iso-8859-2\"></head><body>\xb1</body></html>\n"), saying{text: "ą"}},
		"bom":              {typed("text/plain; charset=iso-8859-1", "\xef\xbb\xbfé\n"), saying{text: "é"}},
		"mp4 type":         {typed("video", "x\n"), saying{text: "x"}},
		"two types":        {"From: a@example.com\nContent-Type: text/plain; charset=iso-8859-1\nContent-Type: text/html\n\n\xe9\n", saying{text: "é"}},
		"calendar as file": {parts("mixed", "\nhi", "Content-Type: text/calendar; name=a.ics\nContent-Disposition: attachment; filename=a.ics\n\nBEGIN:VCALENDAR"), saying{text: "hi", files: "a.ics text/calendar"}},
		"opaque signature": {typed("application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=smime.p7m", "MIIB\n"), saying{text: "-", files: "smime.p7m application/pkcs7-mime"}},
		"vcard":            {parts("mixed", "\nhi", "Content-Type: text/x-vcard; charset=utf-8; name=\"ann.vcf\"\n\nBEGIN:VCARD"), saying{text: "hi", files: "ann.vcf text/x-vcard"}},
		"html as file":     {parts("mixed", "\nhi", "Content-Type: text/html\nContent-Disposition: attachment; filename=page.html\n\n<p>page"), saying{text: "hi", files: "page.html text/html"}},
		"log inline":       {parts("mixed", "\nhi", "Content-Type: text/plain; name=x.log\nContent-Disposition: inline; filename=x.log\n\nlog"), saying{text: "hi", files: "x.log text/plain"}},
		"wrong encoding":   {typed("text/plain; charset=utf-8\nContent-Transfer-Encoding: utf-8", "é\n"), saying{text: "é"}},
		"long qp line":     {typed("text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", strings.Repeat("=C3=A9", 400)+"\n"), saying{text: strings.Repeat("é", 400)}},
		"qp in lower case": {typed("text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", "caf=c3=a9 =e2=82=ac\n"), saying{text: "café €"}},
		"flowed quotation": {typed("text/plain; charset=utf-8; format=flowed", "Yes \nI do.\n\nOn 1/5/24 10:00, Bob wrote:\n> Are you \n> coming?\n"), saying{reply: "Yes I do."}},
		"space in field":   {"From : a@example.com\nSubject : hi\n\nhello\n", saying{from: "<a@example.com>", subject: "hi", text: "hello"}},
		"text in header":   {"From: a@example.com\nhello without a field\nSubject: hi\n\nhello\n", saying{from: "<a@example.com>", subject: "hi", text: "hello"}},
		"no blank line":    {"From: a@example.com\nSubject: hi\n", saying{from: "<a@example.com>", subject: "hi", text: "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := noted(Parse(context.Background(), []byte(strings.ReplaceAll(c.raw, "\n", "\r\n"))))
			for field, pair := range map[string][2]string{
				"from": {c.want.from, got.from}, "to": {c.want.to, got.to}, "subject": {c.want.subject, got.subject}, "date": {c.want.date, got.date},
				"text": {c.want.text, strings.ReplaceAll(got.text, "\r\n", "\n")}, "reply": {c.want.reply, strings.ReplaceAll(got.reply, "\r\n", "\n")}, "files": {c.want.files, got.files},
			} {
				if pair[0] != "" {
					require.Equal(t, pair[0], pair[1], field)
				}
			}
		})
	}
}
