package mailparse

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// saying is what a mail says, as far as a case is about it. An empty field is not checked; "-" stands for none.
type saying struct {
	from, to, subject, date, text, reply, files string
}

// noted returns the same fields of a mail.
func noted(m *Mail) saying {
	list := func(as []Address) string {
		out := make([]string, len(as))
		for i, a := range as {
			out[i] = strings.TrimSpace(a.Name + " <" + a.Address + ">")
		}
		return strings.Join(out, " | ")
	}
	s := saying{from: list(m.From), to: list(m.To), subject: m.Subject, text: strings.TrimSpace(m.Text), reply: "-", date: "-"}
	if m.Reply != nil {
		s.reply = *m.Reply
	}
	if m.HasDate {
		s.date = m.Date.UTC().Format(time.RFC3339)
	}
	var files []string
	for _, a := range m.Attachments {
		files = append(files, a.Filename+" "+a.ContentType)
	}
	s.files = strings.Join(files, " | ")
	for _, f := range []*string{&s.from, &s.to, &s.subject, &s.text, &s.files} {
		if *f == "" {
			*f = "-"
		}
	}
	return s
}

// plain is a mail with a text alone.
func plain(text string) string {
	return "From: a@example.com\nContent-Type: text/plain; charset=utf-8\n\n" + text
}

// header is a mail with fields alone.
func header(fields string) string { return fields + "\n\nhello\n" }

const quote1 = "\n\n> Are you coming?\n> Bob\n"

// parts is a multipart of whole parts.
func parts(kind string, list ...string) string {
	return "From: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/" + kind + "; boundary=\"b1\"\n\n--b1\n" + strings.Join(list, "\n--b1\n") + "\n--b1--\n"
}

// TestMoreMailsOfTheWorld has mails of the same kinds as the cases in testdata, from other programs and in other
// languages.
func TestMoreMailsOfTheWorld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw  string
		want saying
	}{
		// The attribution directly below the answer, in the words of mail programs.
		"reply ja":    {plain("行きます。\n2024年1月5日(金) 10:00 山田太郎 <taro@example.jp>:" + quote1), saying{reply: "行きます。"}},
		"reply ko":    {plain("갑니다.\n2024년 1월 5일 (금) 오전 10:00, 홍길동 <hong@example.kr>님이 작성:" + quote1), saying{reply: "갑니다."}},
		"reply zh":    {plain("我来。\n张三 <zhang@example.cn> 于2024年1月5日周五 10:00写道：" + quote1), saying{reply: "我来。"}},
		"reply zh tw": {plain("我來。\n王小明 <wang@example.tw> 於 2024年1月5日 週五 上午10:00寫道：" + quote1), saying{reply: "我來。"}},
		"reply pl":    {plain("Tak.\npt., 5 sty 2024 o 10:00 Jan Kowalski <jan@example.pl> napisał(a):" + quote1), saying{reply: "Tak."}},
		"reply tr":    {plain("Evet.\nAli Veli <ali@example.com>, 5 Oca 2024 Cum, 10:00 tarihinde şunu yazdı:" + quote1), saying{reply: "Evet."}},
		"reply hu":    {plain("Igen.\nNagy Béla <bela@example.hu> ezt írta (időpont: 2024. jan. 5., P, 10:00):" + quote1), saying{reply: "Igen."}},
		"reply cs":    {plain("Ano.\npá 5. 1. 2024 v 10:00 odesílatel Jan Novák <jan@example.cz> napsal:" + quote1), saying{reply: "Ano."}},
		"reply fi":    {plain("Kyllä.\npe 5. tammik. 2024 klo 10.00 Matti (matti@example.fi) kirjoitti:" + quote1), saying{reply: "Kyllä."}},
		"reply el":    {plain("Ναι.\nΣτις Παρ 5 Ιαν 2024 στις 10:00 π.μ., ο/η Nikos <nikos@example.gr> έγραψε:" + quote1), saying{reply: "Ναι."}},
		"reply he":    {plain("כן.\n\u202bבתאריך יום ו׳, 5 בינו׳ 2024 ב-10:00 מאת \u202aDan\u202c\u200f <\u202adan@example.co.il\u202c\u200f>:\u202c" + quote1), saying{reply: "כן."}},
		"reply ar":    {plain("نعم.\nفي الجمعة، 5 يناير 2024 في 10:00 ص تمت كتابة ما يلي بواسطة Ali <ali@example.com>:" + quote1), saying{reply: "نعم."}},
		"reply uk":    {plain("Так.\nпт, 5 січ. 2024 р. о 10:00 Іван <ivan@example.ua> пише:" + quote1), saying{reply: "Так."}},
		"reply vi":    {plain("Vâng.\nVào Th 6, 5 thg 1, 2024 vào lúc 10:00 An <an@example.vn> đã viết:" + quote1), saying{reply: "Vâng."}},
		"reply ro":    {plain("Da.\nÎn vin., 5 ian. 2024 la 10:00, Ion <ion@example.ro> a scris:" + quote1), saying{reply: "Da."}},
		"reply th":    {plain("ไป\nเมื่อ ศ. 5 ม.ค. 2024 เวลา 10:00 Som <som@example.th> เขียนว่า:" + quote1), saying{reply: "ไป"}},
		"reply id":    {plain("Ya.\nPada tanggal Jum, 5 Jan 2024 pukul 10.00 Budi <budi@example.id> menulis:" + quote1), saying{reply: "Ya."}},
		"block sv":    {plain("Ja.\n\nFrån: Bob <bob@example.se>\nSkickat: den 5 januari 2024 10:00\nTill: Ann <ann@example.se>\nÄmne: Fest\n\nKommer du?\n"), saying{reply: "Ja."}},
		"block nl":    {plain("Ja.\n\nVan: Bob <bob@example.nl>\nVerzonden: vrijdag 5 januari 2024 10:00\nAan: Ann <ann@example.nl>\nOnderwerp: Feest\n\nKom je?\n"), saying{reply: "Ja."}},
		"block fi":    {plain("Kyllä.\n\nLähettäjä: Bob <bob@example.fi>\nLähetetty: perjantai 5. tammikuuta 2024 10.00\nVastaanottaja: Ann <ann@example.fi>\nAihe: Juhlat\n\nTuletko?\n"), saying{reply: "Kyllä."}},
		"block pl":    {plain("Tak.\n\nOd: Bob <bob@example.pl>\nWysłano: piątek, 5 stycznia 2024 10:00\nDo: Ann <ann@example.pl>\nTemat: Impreza\n\nPrzyjdziesz?\n"), saying{reply: "Tak."}},
		"block ja":    {plain("行きます。\n\n差出人: Bob <bob@example.jp>\n送信日時: 2024年1月5日 10:00\n宛先: Ann <ann@example.jp>\n件名: 会\n\n来ますか\n"), saying{reply: "行きます。"}},
		"forward es":  {plain("---------- Mensaje reenviado ---------\nDe: Bob <bob@example.es>\nDate: vie, 5 ene 2024 10:00\nSubject: Fiesta\nTo: <ann@example.es>\n\n¿Vienes?\n"), saying{reply: "-"}},
		"own words":   {plain("On Monday we meet at 10:00, and Bob <bob@example.com> wrote:\n\nthe agenda below.\n"), saying{reply: "-"}},
		// Addresses.
		"quoted word":      {header("From: \"=?UTF-8?Q?J=C3=BCrgen_M=2E?=\" <j@example.de>"), saying{from: "Jürgen M. <j@example.de>"}},
		"word with comma":  {header("From: =?utf-8?Q?Doe=2C_Jane?= <jane@example.com>"), saying{from: "Doe, Jane <jane@example.com>"}},
		"empty group":      {header("From: a@example.com\nTo: undisclosed-recipients:;"), saying{to: "-"}},
		"group":            {header("From: a@example.com\nTo: Team: Ann <ann@example.com>, bob@example.com;, eve@example.com"), saying{to: "Ann <ann@example.com> | <bob@example.com> | <eve@example.com>"}},
		"semicolons":       {header("From: a@example.com\nTo: Ann <ann@example.com>; bob@example.com"), saying{to: "Ann <ann@example.com> | <bob@example.com>"}},
		"utf-8 address":    {header("From: 用户 <用户@例え.jp>"), saying{from: "用户 <用户@例え.jp>"}},
		"forged by comma":  {header("From: ceo@bank.example, <evil@evil.example>"), saying{from: "<ceo@bank.example> | <evil@evil.example>"}},
		"forged in quotes": {header("From: \"ceo@bank.example\" <evil@evil.example>"), saying{from: "ceo@bank.example <evil@evil.example>"}},
		"forged encoded":   {header("From: =?utf-8?Q?ceo=40bank.example_=3Cceo=40bank.example=3E?= <evil@evil.example>"), saying{from: "ceo@bank.example <ceo@bank.example> <evil@evil.example>"}},
		"folded":           {header("From:\n Ann\n <ann@example.com>"), saying{from: "Ann <ann@example.com>"}},
		// Subjects.
		"newline in name": {header("From: =?utf-8?Q?Ann=0D=0ABcc:_x?= <ann@example.com>"), saying{from: "Ann Bcc: x <ann@example.com>"}},
		"split rune":      {header("From: a@example.com\nSubject: =?UTF-8?B?5pel5g==?= =?UTF-8?B?nKw=?="), saying{subject: "日本"}},
		"glued words":     {header("From: a@example.com\nSubject: =?utf-8?Q?caf=C3=A9?==?utf-8?Q?_noir?="), saying{subject: "café noir"}},
		"newline in word": {header("From: a@example.com\nSubject: =?utf-8?Q?one=0D=0ABcc:_x?="), saying{subject: "one Bcc: x"}},
		"raw koi8":        {"From: a@example.com\nSubject: \xf0\xd2\xc9\xd7\xc5\xd4\nContent-Type: text/plain; charset=koi8-r\n\n\xf0\xd2\xc9\xd7\xc5\xd4\n", saying{subject: "Привет", text: "Привет"}},
		"wrong gb2312":    {header("From: a@example.com\nSubject: =?gb2312?B?xPq6w4Y=?="), saying{subject: "您好\ufffd"}},
		"tab folding":     {header("From: a@example.com\nSubject: one\n\ttwo"), saying{subject: "one two"}},
		// Dates.
		"date german":    {header("From: a@example.com\nDate: Mo, 14 Okt 2024 10:00:00 +0200"), saying{date: "2024-10-14T08:00:00Z"}},
		"date french":    {header("From: a@example.com\nDate: jeu., 15 f\xc3\xa9vr. 2024 10:00:00 +0100"), saying{date: "2024-02-15T09:00:00Z"}},
		"date spanish":   {header("From: a@example.com\nDate: vie, 5 ene 2024 10:00:00 -0300"), saying{date: "2024-01-05T13:00:00Z"}},
		"date two years": {header("From: a@example.com\nDate: Fri, 5 Jan 24 10:00:00 EST"), saying{date: "2024-01-05T15:00:00Z"}},
		"date ctime":     {header("From: a@example.com\nDate: Fri Jan  5 10:00:00 2024 -0500"), saying{date: "2024-01-05T15:00:00Z"}},
		"date slash":     {header("From: a@example.com\nDate: 2024/01/05 10:00:00 +0900"), saying{date: "2024-01-05T01:00:00Z"}},
		"date noon":      {header("From: a@example.com\nDate: 5 Jan 2024 12:30:00 AM PST"), saying{date: "2024-01-05T08:30:00Z"}},
		"date both":      {header("From: a@example.com\nDate: Fri, 5 Jan 2024 10:00:00 GMT+0530"), saying{date: "2024-01-05T04:30:00Z"}},
		// Names of attachments.
		"name split rune": {
			parts("mixed", "\nhi", "Content-Type: text/csv\nContent-Disposition: attachment;\n filename*0*=UTF-8''%E6;\n filename*1*=%97%A5.csv\n\na,b"),
			saying{files: "日.csv text/csv"},
		},
		"name by word in pieces": {
			parts("mixed", "\nhi", "Content-Type: application/pdf; name=\"=?utf-8?B?5pel?=\n =?utf-8?B?5pysLnBkZg==?=\"\nContent-Disposition: attachment\n\nx"),
			saying{files: "日本.pdf application/pdf"},
		},
		"name with a path": {
			parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"C:\\\\docs\\\\a.pdf\"\n\nx"),
			saying{files: `C:\docs\a.pdf application/pdf`},
		},
		"name raw gbk": {
			parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment; filename==?gbk?B?xPq6wy5wZGY=?=\n\nx"),
			saying{files: "您好.pdf application/pdf"},
		},
		"name star twice": {
			parts("mixed", "\nhi", "Content-Type: application/pdf; name*=iso-8859-1''caf%E9.pdf\nContent-Disposition: attachment; filename=\"caf?.pdf\"; filename*=iso-8859-1''caf%E9.pdf\n\nx"),
			saying{files: "café.pdf application/pdf"},
		},
		"newline in a name": {
			parts("mixed", "\nhi", "Content-Type: text/csv\nContent-Disposition: attachment; filename*=utf-8''a%0D%0Ab.csv\n\na,b"),
			saying{files: "a b.csv text/csv"},
		},
		// Bodies.
		"prefix boundary": {
			"From: a@example.com\nContent-Type: multipart/mixed; boundary=b1\n\n--b1\nContent-Type: multipart/alternative; boundary=b12\n\n--b12\n\none\n--b12--\n--b1\n\ntwo\n--b1--\n",
			saying{text: "one\ntwo"},
		},
		"no last boundary": {"From: a@example.com\nContent-Type: multipart/mixed; boundary=b1\n\n--b1\n\none\n", saying{text: "one"}},
		"spaces behind":    {"From: a@example.com\nContent-Type: multipart/mixed; boundary=\"b1 \"\n\n--b1\n\none\n--b1--\n", saying{text: "one"}},
		"soft break": {
			"From: a@example.com\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: Quoted-Printable \n\ncaf=C3=  \n=A9\n", saying{text: "café"},
		},
		"encoding misspelt": {
			"From: a@example.com\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base-64\n\nY2Fmw6k=\n", saying{text: "café"},
		},
		"mail in base64": {
			parts("mixed", "\nhi", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nRnJvbTogYkBleGFtcGxlLmNvbQpTdWJqZWN0OiBpbm5lcgoKaW5uZXIK"),
			saying{text: "hi"},
		},
		"amp": {
			parts("alternative", "Content-Type: text/plain\n\nplain", "Content-Type: text/x-amp-html\n\n<html amp4email>amp</html>", "Content-Type: text/html\n\n<p>rich</p>"),
			saying{text: "plain"},
		},
		"signed": {
			parts("signed; protocol=\"application/pkcs7-signature\"", "Content-Type: text/plain\n\nsigned", "Content-Type: application/pkcs7-signature; name=smime.p7s\nContent-Disposition: attachment; filename=smime.p7s\n\nx"),
			saying{text: "signed", files: "smime.p7s application/pkcs7-signature"},
		},
		"tnef": {
			parts("mixed", "Content-Type: text/plain\n\nhi", "Content-Type: application/ms-tnef; name=\"winmail.dat\"\nContent-Transfer-Encoding: base64\n\neJ8+"),
			saying{text: "hi", files: "winmail.dat application/ms-tnef"},
		},
		"mark before the header": {"\xef\xbb\xbfFrom: a@example.com\nSubject: hi\n\nhello\n", saying{from: "<a@example.com>", subject: "hi", text: "hello"}},
		"mbox line":              {"From a@example.com Fri Jan  5 10:00:00 2024\nFrom: a@example.com\nSubject: hi\n\nhello\n", saying{from: "<a@example.com>", subject: "hi", text: "hello"}},
		"flowed and stuffed": {
			"From: a@example.com\nContent-Type: text/plain; format=flowed; delsp=yes\n\none \ntwo\n From here\n-- \nAnn\n", saying{text: "one two\nFrom here\n-- \nAnn"},
		},
		"utf-16 html": {
			"From: a@example.com\nContent-Type: text/html; charset=utf-16le\nContent-Transfer-Encoding: base64\n\nPABwAD4AYwBhAGYA6QA8AC8AcAA+AA==\n", saying{text: "café"},
		},
		"type alone": {"From: a@example.com\nContent-Type: text\n\nhello\n", saying{text: "hello"}},
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
