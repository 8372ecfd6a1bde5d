package mailparse

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// details is what a report, an invitation or a redirected mail says, in one line.
func details(m *Mail) string {
	var out []string
	if r := m.Report; r != nil {
		kind := "bounce"
		if r.Complaint {
			kind = "complaint " + r.FeedbackType
		}
		out = append(out, kind, "of "+r.OriginalMessageID)
		for _, one := range r.Recipients {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", one.Recipient, one.Action, one.Status)))
		}
	}
	if c := m.Calendar; c != nil {
		out = append(out, fmt.Sprintf("%s %s %s %s %s <%s>", c.Method, c.UID, c.Start.Value, c.End.Value, c.Summary, c.Organizer.Address))
	}
	if r := m.Resent; r != nil {
		for _, a := range append(append([]Address{}, r.From...), r.To...) {
			out = append(out, "resent "+a.Address)
		}
	}
	return strings.Join(out, "; ")
}

// report is a multipart/report of parts.
func report(kind string, list ...string) string {
	return "From: MAILER-DAEMON <>\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=" + kind + "; boundary=\"b1\"\n\n--b1\n" + strings.Join(list, "\n--b1\n") + "\n--b1--\n"
}

// invitation is a mail with a calendar of lines.
func invitation(method string, lines ...string) string {
	return parts("alternative", "Content-Type: text/plain\n\nCome.", "Content-Type: text/calendar; method="+method+"; charset=utf-8\n\nBEGIN:VCALENDAR\nMETHOD:"+method+"\n"+
		strings.Join(lines, "\n")+"\nEND:VCALENDAR")
}

// TestMailsOfMoreClients has what mail clients, lists and servers write, and what mail clients show of it.
func TestMailsOfMoreClients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw     string
		want    saying
		details string // "-" for none
	}{
		// Attributions of other clients and languages.
		"roundcube":      {plain("Sure.\n\nOn 2024-01-05 10:00, Bob wrote:\n> Coming?\n"), saying{reply: "Sure."}, ""},
		"roundcube de":   {plain("Klar.\n\nAm 2024-01-05 10:00, schrieb Bob:\n> Kommst du?\n"), saying{reply: "Klar."}, ""},
		"kmail":          {plain("Yes.\nOn Friday, January 5, 2024 10:00:00 AM CET Bob wrote:\n> Coming?\n"), saying{reply: "Yes."}, ""},
		"mutt":           {plain("Yes.\n\nOn Fri, Jan 05, 2024 at 10:00:00AM +0100, Bob wrote:\n> Coming?\n"), saying{reply: "Yes."}, ""},
		"gnus":           {plain("Yes.\n\nBob <bob@example.com> writes:\n\n> Coming?\n"), saying{reply: "Yes."}, ""},
		"protonmail":     {plain("Yes.\n\nSent with Proton Mail secure email.\n\nOn Friday, January 5th, 2024 at 10:00 AM, Bob <bob@example.com> wrote:\n\n> Coming?\n"), saying{reply: "Yes.\n\nSent with Proton Mail secure email."}, ""},
		"yahoo":          {plain("Yes.\n\n    On Friday, January 5, 2024 at 10:00:00 AM GMT+1, Bob <bob@example.com> wrote:  \n \n Coming?\n"), saying{reply: "Yes."}, ""},
		"apple zh":       {plain("好。\n\n> 2024年1月5日 10:00，Bob <bob@example.cn> 写道：\n> \n> 来吗？\n"), saying{reply: "好。"}, ""},
		"apple fr":       {plain("Oui.\n\n> Le 5 janv. 2024 à 10:00, Bob <bob@example.fr> a écrit :\n> \n> Tu viens ?\n"), saying{reply: "Oui."}, ""},
		"outlook da":     {plain("Ja.\n\nFra: Bob <bob@example.dk>\nSendt: 5. januar 2024 10:00\nTil: Ann <ann@example.dk>\nEmne: Fest\n\nKommer du?\n"), saying{reply: "Ja."}, ""},
		"outlook it":     {plain("Sì.\n\nDa: Bob <bob@example.it>\nInviato: venerdì 5 gennaio 2024 10:00\nA: Ann <ann@example.it>\nOggetto: Festa\n\nVieni?\n"), saying{reply: "Sì."}, ""},
		"outlook es":     {plain("Sí.\n\nDe: Bob <bob@example.es>\nEnviado el: viernes, 5 de enero de 2024 10:00\nPara: Ann <ann@example.es>\nAsunto: Fiesta\n\n¿Vienes?\n"), saying{reply: "Sí."}, ""},
		"outlook tr":     {plain("Evet.\n\nKimden: Bob <bob@example.tr>\nGönderildi: 5 Ocak 2024 Cuma 10:00\nKime: Ann <ann@example.tr>\nKonu: Parti\n\nGeliyor musun?\n"), saying{reply: "Evet."}, ""},
		"outlook ko":     {plain("네.\n\n보낸 사람: Bob <bob@example.kr>\n보낸 날짜: 2024년 1월 5일 금요일 오전 10:00\n받는 사람: Ann <ann@example.kr>\n제목: 파티\n\n오나요?\n"), saying{reply: "네."}, ""},
		"outlook cs":     {plain("Ano.\n\nOd: Bob <bob@example.cz>\nOdesláno: pátek 5. ledna 2024 10:00\nKomu: Ann <ann@example.cz>\nPředmět: Večírek\n\nPřijdeš?\n"), saying{reply: "Ano."}, ""},
		"outlook uk":     {plain("Так.\n\nВід: Bob <bob@example.ua>\nНадіслано: 5 січня 2024 р. 10:00\nКому: Ann <ann@example.ua>\nТема: Свято\n\nПрийдеш?\n"), saying{reply: "Так."}, ""},
		"mail.ru":        {plain("Да.\n\n>Пятница, 5 января 2024, 10:00 +03:00 от Bob <bob@example.ru>:\n>\n>Придёшь?\n"), saying{reply: "Да."}, ""},
		"yandex":         {plain("Да.\n\n05.01.2024, 10:00, \"Bob\" <bob@example.ru>:\n> Придёшь?\n"), saying{reply: "Да."}, ""},
		"seznam":         {plain("Ano.\n\n---------- Původní e-mail ----------\nOd: Bob <bob@example.cz>\nKomu: ann@example.cz\nDatum: 5. 1. 2024 10:00:00\nPředmět: Večírek\n\"Přijdeš?\"\n"), saying{reply: "Ano."}, ""},
		"zoho":           {plain("Yes.\n\n---- On Fri, 05 Jan 2024 10:00:00 +0530 Bob <bob@example.in> wrote ----\n\nComing?\n"), saying{reply: "Yes."}, ""},
		"qq":             {plain("好。\n\n\n------------------ 原始邮件 ------------------\n发件人: \"Bob\" <bob@example.cn>;\n发送时间: 2024年1月5日(星期五) 上午10:00\n收件人: \"Ann\" <ann@example.cn>;\n主题: 会\n\n来吗？\n"), saying{reply: "好。"}, ""},
		"netease":        {plain("好。\n\n\n\nAt 2024-01-05 10:00:00, \"Bob\" <bob@example.cn> wrote:\n>来吗？\n"), saying{reply: "好。"}, ""},
		"netease zh":     {plain("好。\n\n在 2024-01-05 10:00:00，\"Bob\" <bob@example.cn> 写道：\n>来吗？\n"), saying{reply: "好。"}, ""},
		"becky ja":       {plain("行きます。\n\nOn Fri, 5 Jan 2024 10:00:00 +0900\n山田 <taro@example.jp> wrote:\n\n> 来ますか\n"), saying{reply: "行きます。"}, ""},
		"thunderbird ja": {plain("行きます。\n\nOn 2024/01/05 10:00, 山田 wrote:\n> 来ますか\n"), saying{reply: "行きます。"}, ""},
		"gmail hi":       {plain("हाँ।\n\nशुक्र, 5 जन॰ 2024 को 10:00 am बजे को Bob <bob@example.in> ने लिखा:\n\n> आओगे?\n"), saying{reply: "हाँ।"}, ""},
		"gmail fa":       {plain("بله.\n\nدر تاریخ جمعه ۵ ژانویهٔ ۲۰۲۴،\u200f ۱۰:۰۰ Bob <bob@example.ir> نوشت:\n\n> می\u200cآیی؟\n"), saying{reply: "بله."}, ""},
		"gmail bg":       {plain("Да.\n\nНа пт, 5.01.2024 г. в 10:00 Bob <bob@example.bg> написа:\n\n> Идваш ли?\n"), saying{reply: "Да."}, ""},
		"gmail hr":       {plain("Da.\n\npet, 5. sij 2024. u 10:00 Bob <bob@example.hr> napisao je:\n\n> Dolaziš?\n"), saying{reply: "Da."}, ""},
		"gmail ca":       {plain("Sí.\n\nMissatge de Bob <bob@example.cat> del dia dv., 5 de gen. 2024 a les 10:00:\n\n> Véns?\n"), saying{reply: "Sí."}, ""},
		"gmail da":       {plain("Ja.\n\nDen fre. 5. jan. 2024 kl. 10.00 skrev Bob <bob@example.dk>:\n\n> Kommer du?\n"), saying{reply: "Ja."}, ""},
		"gmail no":       {plain("Ja.\n\nfre. 5. jan. 2024 kl. 10:00 skrev Bob <bob@example.no>:\n\n> Kommer du?\n"), saying{reply: "Ja."}, ""},
		"lotus":          {plain("Yes.\n\n\n\nFrom:   Bob/HQ/Example\nTo:     Ann/HQ/Example@Example\nDate:   05.01.2024 10:00\nSubject:        Party\n\nComing?\n"), saying{reply: "Yes."}, ""},
		"a list of one":  {plain("Fields of the form:\nFrom: where you start\nTo: where you go\nDate: when\n\nThat is all.\n"), saying{reply: "-"}, ""},
		"a time, a verb": {plain("At 10:00 Bob wrote:\nnothing at all, he just sat there.\n"), saying{reply: "-"}, ""},
		// Bodies.
		"alternative in mixed in alternative": {
			"From: a@example.com\nContent-Type: multipart/alternative; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: text/plain\n\none\n--i\nContent-Type: image/png; name=x.png\n\nx\n--i\nContent-Type: text/plain\n\ntwo\n--i--\n--o\nContent-Type: text/html\n\n<p>one</p><p>two</p>\n--o--\n",
			saying{text: "one\ntwo", files: "x.png image/png"},
			"",
		},
		"html before plain": {parts("alternative", "Content-Type: text/html\n\n<p>rich</p>", "Content-Type: text/plain\n\nplain"), saying{text: "plain"}, ""},
		"related in alternative": {
			parts("alternative", "Content-Type: text/plain\n\nplain", "Content-Type: multipart/related; boundary=r; type=\"text/html\"\n\n--r\nContent-Type: text/html\n\n<img src=cid:a>rich\n--r\nContent-Type: image/png\nContent-ID: <a>\nContent-Disposition: inline; filename=a.png\n\nx\n--r--"),
			saying{text: "plain", files: "a.png image/png"},
			"",
		},
		"empty plain": {parts("alternative", "Content-Type: text/plain\n\n", "Content-Type: text/html\n\n<p>rich</p>"), saying{text: "rich"}, ""},
		"enriched":    {parts("alternative", "Content-Type: text/plain\n\nplain", "Content-Type: text/enriched\n\n<bold>plain</bold>"), saying{text: "plain"}, ""},
		"inline text": {parts("mixed", "Content-Type: text/plain\n\nhi", "Content-Type: text/plain\nContent-Disposition: inline\n\nlist footer"), saying{text: "hi\nlist footer", files: "-"}, ""},
		"pgp/mime":    {parts("encrypted; protocol=\"application/pgp-encrypted\"", "Content-Type: application/pgp-encrypted\n\nVersion: 1", "Content-Type: application/octet-stream; name=encrypted.asc\nContent-Disposition: inline; filename=encrypted.asc\n\nx"), saying{text: "-", files: " application/pgp-encrypted | encrypted.asc application/octet-stream"}, ""},
		// Charsets.
		"gb18030":       {"From: a@example.com\nContent-Type: text/plain; charset=gb18030\n\n\xc4\xfa\xba\xc3\n", saying{text: "您好"}, ""},
		"big5":          {"From: a@example.com\nContent-Type: text/plain; charset=Big5\n\n\xb1z\xa6n\n", saying{text: "您好"}, ""},
		"euc-kr":        {"From: a@example.com\nContent-Type: text/plain; charset=ks_c_5601-1987\n\n\xbe\xc8\xb3\xe7\n", saying{text: "안녕"}, ""},
		"windows-1256":  {"From: a@example.com\nContent-Type: text/plain; charset=windows-1256\n\n\xe3\xd1\xcd\xc8\xc7\n", saying{text: "مرحبا"}, ""},
		"iso-8859-8-i":  {"From: a@example.com\nContent-Type: text/plain; charset=iso-8859-8-i\n\n\xf9\xec\xe5\xed\n", saying{text: "שלום"}, ""},
		"tis-620":       {"From: a@example.com\nContent-Type: text/plain; charset=tis-620\n\n\xca\xc7\xd1\xca\xb4\xd5\n", saying{text: "สวัสดี"}, ""},
		"cp866":         {"From: a@example.com\nContent-Type: text/plain; charset=cp866\n\n\x8f\xe0\xa8\xa2\xa5\xe2\n", saying{text: "Привет"}, ""},
		"cp850":         {"From: a@example.com\nContent-Type: text/plain; charset=cp850\n\ncaf\x82\n", saying{text: "café"}, ""},
		"latin9 euro":   {"From: a@example.com\nContent-Type: text/plain; charset=\"ISO-8859-15\"\n\n5 \xa4\n", saying{text: "5 €"}, ""},
		"iso-2022-jp":   {"From: a@example.com\nSubject: =?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=\nContent-Type: text/plain; charset=ISO-2022-JP\n\n\x1b$BF|K\\\x1b(B\n", saying{subject: "日本", text: "日本"}, ""},
		"two words":     {header("From: a@example.com\nSubject: =?utf-8?Q?=C3=9Cber?= =?iso-8859-1?Q?_gr=FC=DFe?= plain =?utf-8?B?w6k=?="), saying{subject: "Über grüße plain é"}, ""},
		"word in quote": {header("From: =?utf-8?B?IkRvZSwgSmFuZSI=?= <jane@example.com>"), saying{from: "\"Doe, Jane\" <jane@example.com>"}, ""},
		// Parameters.
		"rfc 2231 language": {parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment; filename*=UTF-8'de'Gr%C3%BC%C3%9Fe.pdf\n\nx"), saying{files: "Grüße.pdf application/pdf"}, ""},
		"rfc 2231 mixed":    {parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment;\n filename*0*=utf-8''%E6%97%A5;\n filename*1=\"-report\";\n filename*2*=%E6%9C%AC.pdf\n\nx"), saying{files: "日-report本.pdf application/pdf"}, ""},
		"rfc 2231 order":    {parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment;\n filename*1=\"b.pdf\";\n filename*0=\"a\"\n\nx"), saying{files: "ab.pdf application/pdf"}, ""},
		"rfc 2231 koi8":     {parts("mixed", "\nhi", "Content-Type: application/pdf; name*=koi8-r''%F0%D2%C9.pdf\nContent-Disposition: attachment\n\nx"), saying{files: "При.pdf application/pdf"}, ""},
		"semicolon in name": {parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"a;b.pdf\"\n\nx"), saying{files: "a;b.pdf application/pdf"}, ""},
		"spaces unquoted":   {parts("mixed", "\nhi", "Content-Type: application/pdf\nContent-Disposition: attachment; filename=my report.pdf\n\nx"), saying{files: "my report.pdf application/pdf"}, ""},
		// Forged and odd senders.
		"two brackets":    {header("From: <ceo@bank.example> <evil@evil.example>"), saying{from: "<ceo@bank.example> | <evil@evil.example>"}, ""},
		"comment address": {header("From: evil@evil.example (ceo@bank.example)"), saying{from: "ceo@bank.example <evil@evil.example>"}, ""},
		"nul in address":  {header("From: \"ceo\x00@bank.example\" <evil@evil.example>"), saying{from: "ceo@bank.example <evil@evil.example>"}, ""},
		"encoded spec":    {header("From: =?utf-8?Q?ceo=40bank.example?= <evil@evil.example>"), saying{from: "ceo@bank.example <evil@evil.example>"}, ""},
		"two fields":      {"From: ann@example.com\nFrom: evil@evil.example\n\nhi\n", saying{from: "<ann@example.com> | <evil@evil.example>"}, ""},
		"quoted at":       {header("From: \"a@bank.example\"@evil.example"), saying{from: "<\"a@bank.example\"@evil.example>"}, ""},
		"idn":             {header("From: Ann <ann@xn--bcher-kva.example>"), saying{from: "Ann <ann@xn--bcher-kva.example>"}, ""},
		"literal":         {header("From: Ann <ann@[192.0.2.1]>"), saying{from: "Ann <ann@[192.0.2.1]>"}, ""},
		// Reports.
		"postfix": {
			report("delivery-status", "Content-Type: text/plain\n\nThe mail system", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\nX-Postfix-Queue-ID: 4T\n\nFinal-Recipient: rfc822; a@example.net\nOriginal-Recipient: rfc822;a@example.net\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mail.example.net\nDiagnostic-Code: smtp; 550 5.1.1 no such user", "Content-Type: message/rfc822\n\nMessage-ID: <1@x>\nSubject: hi\n\nhi"),
			saying{},
			"bounce; of 1@x; a@example.net failed 5.1.1",
		},
		"gmail dsn": {
			report("delivery-status", "Content-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/plain\n\nAddress not found\n--r--", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; googlemail.com\nArrival-Date: Fri, 05 Jan 2024 10:00:00 -0800 (PST)\nX-Original-Message-ID: <2@x>\n\nFinal-Recipient: rfc822; a@example.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550-5.1.1 The email account does not exist.", "Content-Type: message/rfc822\n\nMessage-ID: <2@x>\n\nhi"),
			saying{},
			"bounce; of 2@x; a@example.net failed 5.1.1",
		},
		"exchange dsn": {
			report("delivery-status", "Content-Type: multipart/alternative; boundary=r\n\n--r\nContent-Type: text/plain\n\nYour message couldn't be delivered\n--r--", "Content-Type: message/delivery-status\n\nReporting-MTA: dns;AM0PR.example.com\nReceived-From-MTA: dns;x\n\nFinal-Recipient: rfc822;a@example.net\nAction: failed\nStatus: 5.1.10\nDiagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound", "Content-Type: message/rfc822\n\nReceived: x\nMessage-ID:\n <3@x.prod.outlook.com>\n\nhi"),
			saying{},
			"bounce; of 3@x.prod.outlook.com; a@example.net failed 5.1.10",
		},
		"sendmail delay": {
			report("delivery-status", "\nwarning", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\nArrival-Date: Fri, 5 Jan 2024 10:00:00 GMT\n\nFinal-Recipient: RFC822; a@example.net\nAction: delayed\nStatus: 4.2.0\nWill-Retry-Until: Wed, 10 Jan 2024 10:00:00 GMT", "Content-Type: text/rfc822-headers\n\nMessage-ID: <4@x>"),
			saying{},
			"bounce; of 4@x; a@example.net delayed 4.2.0",
		},
		"base64 dsn": {
			report("delivery-status", "\ntext", "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\nUmVwb3J0aW5nLU1UQTogZG5zOyBteC5leGFtcGxlDQoNCkZpbmFsLVJlY2lwaWVudDogcmZjODIy\nOyBhQGV4YW1wbGUubmV0DQpBY3Rpb246IGZhaWxlZA0KU3RhdHVzOiA1LjAuMA0K", "Content-Type: text/rfc822-headers\n\nMessage-ID: <5@x>"),
			saying{},
			"bounce; of 5@x; a@example.net failed 5.0.0",
		},
		"utf-8 dsn": {
			report("delivery-status", "\ntext", "Content-Type: message/global-delivery-status\n\nReporting-MTA: dns; mx.example.org\n\nFinal-Recipient: utf-8; 用户@例え.jp\nAction: failed\nStatus: 5.6.7", "Content-Type: message/global-headers\n\nMessage-ID: <6@x>"),
			saying{},
			"bounce; of 6@x; 用户@例え.jp failed 5.6.7",
		},
		"arf": {
			report("feedback-report", "\nabuse", "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: SomeGenerator/1.0\nVersion: 1\nOriginal-Mail-From: <s@example.com>\nOriginal-Rcpt-To: <a@example.net>\nReported-Domain: example.com", "Content-Type: message/rfc822\n\nMessage-ID: <7@x>\n\nhi"),
			saying{},
			"complaint abuse; of 7@x; a@example.net",
		},
		"arf of microsoft": {
			"From: staff@hotmail.com\nContent-Type: multipart/mixed; boundary=b1\n\n--b1\nContent-Type: message/rfc822\nContent-Disposition: inline\n\nX-HmXmrOriginalRecipient: a@example.net\nMessage-ID: <8@x>\nSubject: hi\n\nhi\n--b1--\n",
			saying{text: "-"},
			"",
		},
		"read receipt": {
			report("disposition-notification", "\nread", "Content-Type: message/disposition-notification\n\nReporting-UA: x; y\nFinal-Recipient: rfc822;a@example.net\nOriginal-Message-ID: <9@x>\nDisposition: manual-action/MDN-sent-manually; displayed"),
			saying{},
			"-",
		},
		// Calendars.
		"google invite": {
			invitation("REQUEST", "BEGIN:VEVENT", "DTSTART:20240105T090000Z", "DTEND:20240105T100000Z", "ORGANIZER;CN=Bob:mailto:bob@example.com", "UID:abc@google.com", "SUMMARY:Party\\, big", "END:VEVENT"),
			saying{text: "Come."},
			"REQUEST abc@google.com 2024-01-05T09:00:00Z 2024-01-05T10:00:00Z Party, big <bob@example.com>",
		},
		"all day":     {invitation("PUBLISH", "BEGIN:VEVENT", "DTSTART;VALUE=DATE:20240105", "DTEND;VALUE=DATE:20240106", "UID:d", "SUMMARY:Off", "END:VEVENT"), saying{}, "PUBLISH d 2024-01-05 2024-01-06 Off <>"},
		"with a zone": {invitation("REQUEST", "BEGIN:VTIMEZONE", "TZID:W. Europe Standard Time", "BEGIN:STANDARD", "DTSTART:16010101T030000", "END:STANDARD", "END:VTIMEZONE", "BEGIN:VEVENT", "DTSTART;TZID=W. Europe Standard Time:20240105T100000", "DURATION:PT1H", "UID:z", "SUMMARY:Talk", "ORGANIZER:MAILTO:bob@example.com", "END:VEVENT"), saying{}, "REQUEST z 2024-01-05T10:00:00 2024-01-05T11:00:00 Talk <bob@example.com>"},
		"cancelled":   {invitation("CANCEL", "BEGIN:VEVENT", "UID:c", "DTSTART:20240105T090000Z", "STATUS:CANCELLED", "END:VEVENT"), saying{}, "CANCEL c 2024-01-05T09:00:00Z   <>"},
		// Redirected mails.
		"resent twice": {
			"Resent-From: carl@example.com\nResent-To: robot@example.com\nResent-Date: Fri, 5 Jan 2024 12:00:00 +0000\nReceived: x\nResent-From: bob@example.com\nResent-To: carl@example.com\nFrom: ann@example.com\nTo: bob@example.com\n\nhi\n",
			saying{from: "<ann@example.com>", to: "<bob@example.com>"},
			"resent carl@example.com; resent robot@example.com",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := Parse(context.Background(), []byte(strings.ReplaceAll(c.raw, "\n", "\r\n")))
			got := noted(m)
			for field, pair := range map[string][2]string{
				"from": {c.want.from, got.from}, "to": {c.want.to, got.to}, "subject": {c.want.subject, got.subject},
				"text": {c.want.text, strings.ReplaceAll(got.text, "\r\n", "\n")}, "reply": {c.want.reply, strings.ReplaceAll(got.reply, "\r\n", "\n")}, "files": {c.want.files, got.files},
			} {
				if pair[0] != "" {
					require.Equal(t, pair[0], pair[1], field)
				}
			}
			if c.details != "" {
				require.Equal(t, strings.TrimPrefix(c.details, "-"), details(m))
			}
		})
	}
}

// TestRepliesInTheHTMLOfMoreClients has what clients write around a quotation.
func TestRepliesInTheHTMLOfMoreClients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"gmx":        {`<div>Ja</div><div>&nbsp;<div name="quote" style="margin:10px"><div><b>Gesendet:</b>&nbsp;Freitag<br/><b>Von:</b>&nbsp;Bob</div><div name="quoted-content">old</div></div></div>`, `<div>Ja</div><div>&nbsp;</div>`},
		"yahoo new":  {`<div>Yes</div><div class="ydp12ab34yahoo_quoted" id="ydp1">old</div>`, `<div>Yes</div>`},
		"samsung":    {`<div>Yes</div><div id="composer_signature">Sent from my Galaxy</div><div><div>-------- Original message --------</div><div>From: Bob</div><div>old</div></div>`, `<div>Yes</div><div id="composer_signature">Sent from my Galaxy</div>`},
		"qq":         {`<div>好</div><div><br></div><div><div>------------------&nbsp;Original&nbsp;------------------</div><div><b>From:</b> Bob</div>old</div>`, `<div>好</div><div><br></div>`},
		"qq zh":      {`<div>好</div><div>------------------&nbsp;原始邮件&nbsp;------------------<br>发件人: Bob<br></div><div>old</div>`, `<div>好</div>`},
		"zoho":       {`<div>Yes</div><div class="zmail_extra"><div>---- On Fri, 05 Jan 2024 10:00:00 +0530 <b>Bob &lt;bob@x.example&gt;</b> wrote ----</div><blockquote>old</blockquote></div>`, `<div>Yes</div>`},
		"zoho plain": {`<div>Yes</div><div>---- On Fri, 05 Jan 2024 10:00:00 +0530 Bob &lt;bob@x.example&gt; wrote ----</div><blockquote>old</blockquote>`, `<div>Yes</div>`},
		"seznam":     {`<p>Ano</p><aside>---------- Původní e-mail ----------<br>Od: Bob</aside><div>old</div>`, `<p>Ano</p>`},
		"forward":    {`<div>See below</div><div>Begin forwarded message:</div><div><b>From:</b> Bob</div>old`, `<div>See below</div>`},
		"hey":        {`<div>Yes</div><div>On January 5, 2024, Bob &lt;bob@x.example&gt; wrote:</div><blockquote>old</blockquote>`, `<div>Yes</div>`},
		"airmail":    {`<div>Yes</div><p class="airmail_on">On 5 January 2024 at 10:00:00, Bob (bob@x.example) wrote:</p><blockquote type="cite" class="clean_bq">old</blockquote>`, `<div>Yes</div>`},
		"lark":       {`<div>Yes</div><div class="history-quote-wrapper"><div>From: Bob</div>old</div>`, `<div>Yes</div>`},
		"roundcube":  {`<p>Yes</p><p id="reply-intro">On 2024-01-05 10:00, Bob wrote:</p><blockquote type="cite">old</blockquote>`, `<p>Yes</p>`},
		"open-xch.":  {`<div>Ja</div><blockquote type="cite"><div>Bob &lt;bob@x.example&gt; hat am 05.01.2024 10:00 CET geschrieben:</div>old</blockquote>`, `<div>Ja</div>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := StripQuotationHTML(c[0])
			require.True(t, ok)
			require.Equal(t, c[1], got)
		})
	}
	for _, in := range []string{
		`<div>-------- Original message --------</div><div>only forwarded</div>`, `<p>Part one</p><p>-- Two --</p><p>Part two</p>`, `<p>Yes</p><hr><p>More</p>`,
	} {
		got, ok := StripQuotationHTML(in)
		require.False(t, ok, got)
	}
}
