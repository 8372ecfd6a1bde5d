package mailparse

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names of attachments, in Content-Disposition and Content-Type.
func TestNamesOfAttachmentsAreReadAsMailProgramsDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`attachment; filename=a.pdf`:                                          "a.pdf",
		`attachment; filename="a b.pdf"`:                                      "a b.pdf",
		`attachment; filename=a b.pdf`:                                        "a b.pdf",
		`attachment; filename=a b.pdf; size=1`:                                "a b.pdf",
		`attachment; filename=report(1).pdf`:                                  "report(1).pdf",
		`attachment; FileName = "a.pdf"`:                                      "a.pdf",
		`attachment; filename="a;b.pdf"; size=3`:                              "a;b.pdf",
		`attachment; filename="a\"b.pdf"`:                                     `a"b.pdf`,
		`attachment; filename="a"b".pdf"`:                                     `a"b".pdf`,
		`attachment; filename="C:\dir\a.pdf"`:                                 `C:\dir\a.pdf`,
		`attachment; filename="a.pdf`:                                         "a.pdf",
		`attachment; filename='a.pdf'`:                                        "'a.pdf'",
		`attachment; filename="a.pdf" size=3`:                                 "a.pdf",
		`attachment filename="a.pdf"`:                                         "a.pdf",
		`attachment;filename=a.pdf;`:                                          "a.pdf",
		`filename="a.pdf"`:                                                    "a.pdf",
		`attachment; filename="=?utf-8?q?Fr=C3=B6sche.pdf?="`:                 "Frösche.pdf",
		`attachment; filename==?utf-8?q?Fr=C3=B6sche.pdf?=`:                   "Frösche.pdf",
		`attachment; filename="=?utf-8?q?Fr=C3=B6?= =?utf-8?q?sche.pdf?="`:    "Frösche.pdf",
		`attachment; filename*=utf-8''Fr%C3%B6sche.pdf`:                       "Frösche.pdf",
		`attachment; filename*=UTF-8'de'Fr%C3%B6sche.pdf`:                     "Frösche.pdf",
		`attachment; filename*="UTF-8''Fr%C3%B6sche.pdf"`:                     "Frösche.pdf",
		`attachment; filename*=iso-8859-1''Fr%F6sche.pdf`:                     "Frösche.pdf",
		`attachment; filename*=windows-1251''%CF%F0%E8.pdf`:                   "При.pdf",
		`attachment; filename*=koi8-r'ru'%F0%D2%C9.pdf`:                       "При.pdf",
		`attachment; filename*=iso-2022-jp''%1B%24BF%7CK%5C8l%1B%28B.pdf`:     "日本語.pdf",
		`attachment; filename*=utf-8''a b.pdf`:                                "a b.pdf",
		`attachment; filename*=Fr%C3%B6sche.pdf`:                              "Frösche.pdf",
		`attachment; filename*=''Fr%C3%B6sche.pdf`:                            "Frösche.pdf",
		`attachment; filename*=utf-8''it%27s.pdf`:                             "it's.pdf",
		`attachment; filename*=utf-8''it's.pdf`:                               "it's.pdf",
		`attachment; filename=old.pdf; filename*=utf-8''new.pdf`:              "new.pdf",
		`attachment; filename*=utf-8''new.pdf; filename=old.pdf`:              "new.pdf",
		`attachment; filename*0="long "; filename*1="name.pdf"`:               "long name.pdf",
		`attachment; filename*1="name.pdf"; filename*0="long "`:               "long name.pdf",
		`attachment; filename*0*=utf-8''Fr%C3%B6; filename*1*=sche.pdf`:       "Frösche.pdf",
		`attachment; filename*0*=utf-8''Fr%C3; filename*1*=%B6sche.pdf`:       "Frösche.pdf",
		`attachment; filename*0*=utf-8'de'Fr%C3%B6; filename*1="sc%he.pdf"`:   "Frösc%he.pdf",
		`attachment; filename*0*=iso-8859-15''%A4; filename*1*=%31.pdf`:       "€1.pdf",
		`attachment; filename*1=b; filename*2=c.pdf; filename*0*=us-ascii''a`: "abc.pdf",
		`attachment; filename*10=k.pdf; filename*0=a; filename*1=b; filename*2=c; filename*3=d; filename*4=e; filename*5=f; filename*6=g; filename*7=h; filename*8=i; filename*9=j`: "abcdefghijk.pdf",
		`attachment; filename*0="=?utf-8?q?Fr=C3=B6"; filename*1="sche.pdf?="`:                                                                                                      "Frösche.pdf",
		"attachment; filename=\"Fr\xf6sche.pdf\"":     "Frösche.pdf",
		"attachment; filename=\"Fr\xc3\xb6sche.pdf\"": "Frösche.pdf",
		`attachment; filename=""`:                     "",
		`attachment`:                                  "",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			p := &part{header: Header{{"Content-Type", "application/pdf"}, {"Content-Disposition", in}}}
			p.readType("")
			require.Equal(t, want, p.name())
			require.Equal(t, "attachment", p.disposition.value)
			if !strings.Contains(in, "filename") || strings.Contains(in, `=""`) {
				return
			}
			_, params, _ := strings.Cut(in, "filename")
			p = &part{header: Header{{"Content-Type", "application/pdf; name" + strings.ReplaceAll(params, "filename", "name")}}}
			p.readType("")
			require.Equal(t, want, p.name(), "in Content-Type")
			require.Equal(t, "application/pdf", p.kind.value)
		})
	}
}

func TestMediaTypesAreReadAsMailProgramsDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"text/html": "text/html", "TEXT/HTML": "text/html", " text/html ; charset=x": "text/html", "text/html charset=x": "text/html", "text/html (a comment)": "text/html",
		"text": "text/plain", "html": "text/html", "": "text/plain", ";": "text/plain", "/": "text/plain", "text/": "text/plain", "application/x-a+b": "application/x-a+b",
		"text/plain; charset=x; charset=y": "text/plain", "\"text/html\"": "text/plain",
	} {
		p := &part{header: Header{{"Content-Type", in}}}
		p.readType("")
		require.Equal(t, want, p.kind.value, "%q", in)
		if strings.Contains(in, "charset") {
			require.Equal(t, "x", p.kind.params["charset"], "%q", in)
		}
	}
	for in, want := range map[string]string{
		`multipart/mixed; boundary=b`: "b", `multipart/mixed; boundary="b c"`: "b c", `multipart/mixed; boundary="=_b?="`: "=_b?=", `multipart/mixed; boundary==_b;`: "=_b",
		`multipart/mixed; boundary="b "`: "b", `multipart/mixed; BOUNDARY = b`: "b", `multipart/mixed boundary=b`: "b", `multipart/mixed; boundary="a" (x)`: "a",
		`multipart/mixed; boundary*=us-ascii''b`: "b", `multipart/mixed; boundary*0=a; boundary*1=b`: "ab", `multipart/mixed; charset="x" boundary="b"`: "b",
		`multipart/mixed; boundary="=?utf-8?q?b?="`: "=?utf-8?q?b?=",
	} {
		m := Parse(context.Background(), []byte("From: a@x.example\r\nContent-Type: "+in+"\r\n\r\n--"+want+"\r\n\r\nfound\r\n--"+want+"--\r\n"))
		require.Equal(t, "found", m.Text, in)
		require.Empty(t, m.Problem, in)
	}
}
