package mailparse

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

func TestEncodedWordsAreReadAsMailProgramsDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                                   "plain",
		"=?UTF-8?B?R3LDvMOfZQ====?=":              "Grüße",
		"=?UTF-8?B?R3LDvMOfZQ?=":                  "Grüße",
		"=?UTF-8?B?R3LD vMOf ZQ==?=":              "Grüße",
		"=?UTF-8?B?R3LDvA==w59l?=":                "Grüße",
		"=?utf-8?q?Gr=C3=BC=c3=9fe?=":             "Grüße",
		"=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=":          "Grüße",
		"=?utf-8*de-DE?B?R3LDvMOfZQ==?=":          "Grüße",
		"=?iso-8859-1?Q?Fr\xf6sche?=":             "Frösche",
		"=?iso-8859-1?Q?=93x=94_=80?=":            "“x” €",
		"=?us-ascii?Q?=93x=94?=":                  "“x”",
		"=?utf-8?q?a?= =?utf-8?q?b?=":             "ab",
		"=?utf-8?q?a?=\r\n =?utf-8?q?b?=":         "ab",
		"=?utf-8?q?a?= x =?utf-8?q?b?=":           "a x b",
		"=?utf-8?q?a_?= =?utf-8?q?_b?=":           "a  b",
		"=?utf-8?q?=C3?= =?utf-8?q?=BC?=":         "ü",
		"=?utf-8?b?ww==?= =?utf-8?b?vA==?=":       "ü",
		"=?utf-8?q?=C3=BC?= =?iso-8859-1?q?=FC?=": "üü",
		"x=?utf-8?q?=C3=BC?=y":                    "xüy",
		"\"=?utf-8?q?=C3=BC?=\"":                  "\"ü\"",
		"(=?utf-8?q?=C3=BC?=)":                    "(ü)",
		"=?utf-8?q?with spaces =C3=BC?=":          "with spaces ü",
		"=?utf-8?q?Why?_Yes?=":                    "Why? Yes",
		"=?utf-8?q?broken=Z?=":                    "broken=Z",
		"=?utf-8?x?abc?=":                         "=?utf-8?x?abc?=",
		"=?utf-8?q?never ends":                    "=?utf-8?q?never ends",
		"=?utf-8?q??=":                            "",
		"=??q?abc?=":                              "=??q?abc?=",
		"=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?=":      "日本語",
		"=?iso-2022-jp-ms?B?GyRCRnxLXDhsGyhC?=":   "日本語",
		"=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?= =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=": "日本語日本語",
		"=?unicode-1-1-utf-7?Q?Gr+APwA3w-e?=":                                   "Grüße",
		"=?utf-7?Q?Gr+APwA3w-e +- 1?=":                                          "Grüße + 1",
		"=?gb2312?B?xOO6ww==?=":                                                 "你好",
		"=?gbk?B?xOO6ww==?=":                                                    "你好",
		"=?hz-gb-2312?Q?~{Dc:C~}?=":                                             "你好",
		"=?big5?B?p0G mbg==?=":                                                  "你好",
		"=?shift_jis?B?k/qWe4zq?=":                                              "日本語",
		"=?cp932?B?k/qWe4zq?=":                                                  "日本語",
		"=?ks_c_5601-1987?B?vsiz5w==?=":                                         "안녕",
		"=?euc-kr?B?vsiz5w==?=":                                                 "안녕",
		"=?koi8-r?B?8NLJ18XU?=":                                                 "Привет",
		"=?windows-1251?B?z/Do4uXy?=":                                           "Привет",
		"=?cp1251?B?z/Do4uXy?=":                                                 "Привет",
		"=?win-1251?B?z/Do4uXy?=":                                               "Привет",
		"=?iso-8859-2?Q?=A3=F3d=BC?=":                                           "Łódź",
		"=?iso-8859-15?Q?=A4?=":                                                 "€",
		"=?utf8?q?=C3=BC?=":                                                     "ü",
		"=?x-unknown?q?=FC?=":                                                   "ü",
		"=?klingon?q?=C3=BC?=":                                                  "ü",
		"=?iso-8859-1?q?=C3=BC?=":                                               "ü",
		"=?utf-8?q?=FC?=":                                                       "ü",
		"=?us-ascii?q?a=00b?=":                                                  "ab",
		"Gr\xc3\xbc\xc3\x9fe":                                                   "Grüße",
		"Gr\xfc\xdfe":                                                           "Grüße",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, DecodeWords(in))
		})
	}
	require.Equal(t, strings.Repeat("ü", 1000), DecodeWords("=?utf-8?q?"+strings.Repeat("=C3=BC", 1000)+"?="))
}

// The charset of a text, against what its label says.
func TestTheBytesOfATextDecideItsCharset(t *testing.T) {
	t.Parallel()
	encode := func(e interface{ String(string) (string, error) }, s string) string {
		out, err := e.String(s)
		require.NoError(t, err)
		return out
	}
	jp := encode(japanese.ISO2022JP.NewEncoder(), "日本語")
	for _, c := range []struct{ label, body, want string }{
		{"", "café", "café"},
		{"", "caf\xe9", "café"},
		{"us-ascii", "caf\xe9", "café"},
		{"us-ascii", "café", "café"},
		{"utf-8", "caf\xe9", "café"},
		{"iso-8859-1", "café", "café"},
		{"windows-1252", "café €", "café €"},
		{"iso-8859-1", "\x93a\x94 \x80", "“a” €"},
		{"latin1", "\x80", "€"},
		{"iso-8859-15", "\xa4", "€"},
		{"iso-8859-9", "\xfd", "ı"},
		{"windows-1254", "\xfd", "ı"},
		{"iso-8859-7", "\xe1", "α"},
		{"windows-1255", "\xf9", "ש"},
		{"iso-8859-8-i", "\xf9", "ש"},
		{"windows-1256", "\xc7", "ا"},
		{"tis-620", "\xa1", "ก"},
		{"ibm850", "\x81", "ü"},
		{"cp437", "\x81", "ü"},
		{"macintosh", "\x9f", "ü"},
		{"", jp, "日本語"},
		{"us-ascii", jp, "日本語"},
		{"iso-8859-1", jp, "日本語"},
		{"utf-8", jp, "日本語"},
		{"iso-2022-jp", jp, "日本語"},
		{"iso-2022-jp-3", jp, "日本語"},
		{"iso-2022-jp", "ほげ", "ほげ"},
		{"shift_jis", "日本語です", "日本語です"},
		{"euc-jp", encode(japanese.EUCJP.NewEncoder(), "日本語です"), "日本語です"},
		{"gb2312", encode(simplifiedchinese.GBK.NewEncoder(), "联通"), "联通"},
		{"gb18030", encode(simplifiedchinese.GB18030.NewEncoder(), "你好"), "你好"},
		{"euc-kr", encode(korean.EUCKR.NewEncoder(), "안녕하세요"), "안녕하세요"},
		{"iso-2022-kr", "\x1b$)C\x0e>H3g\x0f!\r\n", "안녕!\r\n"},
		{"utf-16le", encode(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder(), "Grüße"), "Grüße"},
		{"utf-16", encode(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder(), "Grüße"), "Grüße"},
		{"utf-8", "\xef\xbb\xbfGrüße", "Grüße"},
		{"iso-8859-1", "\xef\xbb\xbfGrüße", "Grüße"},
		{"", "\xff\xfeG\x00r\x00", "Gr"},
		{"utf-8", "Grüße und \xc3", "Grüße und \uFFFD"},
		{"utf-7", "Gr+APwA3w-e", "Grüße"},
		{"utf-7", "a + b +- c", "a + b + c"},
		{"unicode-1-1-utf-7", "+ZeVnLIqe-", "日本語"},
		{"\"utf-8\"", "ü", "ü"},
		{" UTF-8 ", "ü", "ü"},
		{"unknown-8bit", "\xfc", "ü"},
		{"x-user-defined", "\xfc", "ü"},
		{"klingon", "nuqneH", "nuqneH"},
		{"iso-8859-1", "plain", "plain"},
		{"utf-16", "not wide", "not wide"},
	} {
		got, known := decodeCharset([]byte(c.body), c.label)
		require.Equal(t, c.want, got, "%s %q", c.label, c.body)
		require.Equal(t, c.label != "klingon", known, c.label)
	}
}

func TestAFieldThatIsNotEncodedHasTheCharsetOfTheText(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Subject: \xcf\xf0\xe8\r\nContent-Type: text/plain; charset=windows-1251\r\n":  "При",
		"Subject: \xf0\xd2\xc9\r\nContent-Type: text/plain; charset=koi8-r\r\n":        "При",
		"Subject: Gr\xc3\xbc\xc3\x9fe\r\nContent-Type: text/plain; charset=koi8-r\r\n": "Grüße",
		"Subject: Gr\xfc\xdfe\r\n":         "Grüße",
		"Subject: \x1b$BF|K\\8l\x1b(B\r\n": "日本語",
		"Subject: =?iso-8859-1?q?\xf6?= \xcf\r\nContent-Type: text/plain; charset=windows-1251\r\n": "ö П",
	} {
		require.Equal(t, want, parsed(header, "").Subject, "%q", header)
	}
}

func TestHTMLNamesItsOwnCharset(t *testing.T) {
	t.Parallel()
	for _, head := range []string{`<meta charset="koi8-r">`, `<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">`} {
		m := Parse(context.Background(), []byte("From: a@x.example\r\nContent-Type: text/html\r\n\r\n<html><head>"+head+"</head><p>\xf0\xd2\xc9\xd7\xc5\xd4"))
		require.Contains(t, m.HTML, "Привет")
		require.Equal(t, "Привет", m.Text)
	}
}
