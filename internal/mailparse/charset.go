package mailparse

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charsets are labels of real mail that the WHATWG's list lacks, or reads otherwise.
var charsets = map[string]encoding.Encoding{
	"cp932": japanese.ShiftJIS, "ms932": japanese.ShiftJIS, "cp943": japanese.ShiftJIS, "shift-jisx0213": japanese.ShiftJIS,
	"eucjp": japanese.EUCJP, "euc-jp-ms": japanese.EUCJP, "eucjp-ms": japanese.EUCJP, "cp51932": japanese.EUCJP,
	"cp936": simplifiedchinese.GB18030, "ms936": simplifiedchinese.GB18030, "gb2312": simplifiedchinese.GB18030, "gbk": simplifiedchinese.GB18030,
	"hz-gb-2312": simplifiedchinese.HZGB2312, "hz": simplifiedchinese.HZGB2312,
	"cp949": korean.EUCKR, "ms949": korean.EUCKR, "uhc": korean.EUCKR, "ks_c_5601": korean.EUCKR, "ksc5601": korean.EUCKR,
	"utf-16": unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "utf16": unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf-16be": unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
	"utf-32": utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "utf-32be": utf32.UTF32(utf32.BigEndian, utf32.UseBOM),
	"utf-32le": utf32.UTF32(utf32.LittleEndian, utf32.UseBOM),
	"koi8":     charmap.KOI8R, "koi8-ru": charmap.KOI8U, "x-mac-roman": charmap.Macintosh, "macroman": charmap.Macintosh,
}

// Labels that say nothing of the bytes.
var noCharset = map[string]bool{
	"": true, "ascii": true, "us-ascii": true, "ansi_x3.4-1968": true, "7bit": true, "8bit": true, "binary": true,
	"unknown": true, "unknown-8bit": true, "x-unknown": true, "default": true, "iso-10646": true, "none": true, "x-user-defined": true,
}

// windowsLabel is a label such as "cp1251", "win-1251" or "windows1251".
var windowsLabel = regexp.MustCompile(`^(?:x-)?(?:cp|win|windows|ansi|microsoft)[-_ ]?(125\d|874)$`)

// findCharset returns the encoding of a label in lower case.
func findCharset(label string) (encoding.Encoding, bool) {
	if strings.HasPrefix(label, "iso-2022-jp") || strings.HasPrefix(label, "csiso2022jp") || strings.HasPrefix(label, "cp5022") {
		return japanese.ISO2022JP, true
	}
	if e, ok := charsets[label]; ok {
		return e, true
	}
	if m := windowsLabel.FindStringSubmatch(label); m != nil {
		label = "windows-" + m[1]
	}
	if e, err := htmlindex.Get(label); err == nil && e != encoding.Replacement {
		return e, true
	}
	if e, err := ianaindex.IANA.Encoding(label); err == nil && e != nil {
		return e, true
	}
	return nil, false
}

// decodeCharset decodes bytes that claim a charset. It follows the bytes where they contradict the claim. known is
// false if nobody knows the charset.
func decodeCharset(b []byte, label string) (s string, known bool) {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	label, _, _ = strings.Cut(strings.TrimPrefix(label, "charset="), "*") // a language
	if e := byMark(b); e != nil {
		return decodeWith(e, b), true
	}
	switch {
	case strings.Contains(label, "utf-7"), label == "utf7":
		if isASCII(b) {
			return decodeUTF7(b), true
		}
		return guess(b), true
	case label == "iso-2022-kr" || label == "csiso2022kr":
		return decodeISO2022KR(b), true
	case noCharset[label] || label == "utf-8" || label == "utf8":
		return guess(b), true
	}
	e, ok := findCharset(label)
	if !ok {
		return guess(b), false
	}
	wide := wideCharset(e)
	switch {
	case isASCII(b) && !shifted(e) && !(wide && bytes.IndexByte(b, 0) >= 0):
		return guess(b), true // only an escape sequence could mean something else
	case !wide && utf8.Valid(b) && !isASCII(b) && !multiByte(e):
		return string(b), true // text in another charset is hardly ever valid UTF-8
	}
	if !wide && !multiByte(e) && e != japanese.ISO2022JP {
		return byLine(b, func(line []byte) string {
			if utf8.Valid(line) {
				return string(line) // somebody has added text of another charset
			}
			return decodeWith(e, line)
		}), true
	}
	s = decodeWith(e, b)
	if !wide && strings.ContainsRune(s, utf8.RuneError) && utf8.Valid(b) {
		return string(b), true
	}
	return s, true
}

// byMark finds the encoding that a byte order mark names, nil for none.
func byMark(b []byte) encoding.Encoding {
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return unicode.UTF8BOM
	case bytes.HasPrefix(b, []byte("\xff\xfe")) && len(b)%2 == 0 && bytes.IndexByte(b, 0) >= 0:
		return charsets["utf-16le"]
	case bytes.HasPrefix(b, []byte("\xfe\xff")) && len(b)%2 == 0 && bytes.IndexByte(b, 0) >= 0:
		return charsets["utf-16"]
	}
	return nil
}

func wideCharset(e encoding.Encoding) bool {
	for _, l := range []string{"utf-16", "utf-16be", "utf-16le", "utf-32", "utf-32be", "utf-32le"} {
		if e == charsets[l] {
			return true
		}
	}
	return false
}

// shifted reports whether the encoding writes other scripts with ASCII bytes.
func shifted(e encoding.Encoding) bool {
	return e == japanese.ISO2022JP || e == simplifiedchinese.HZGB2312
}

// multiByte reports whether short texts of the encoding may be valid UTF-8 by chance.
func multiByte(e encoding.Encoding) bool {
	_, one := e.(*charmap.Charmap)
	return !one && e != japanese.ISO2022JP
}

// escapes are the escape sequences of ISO-2022-JP.
var escapes = [][]byte{[]byte("\x1b$B"), []byte("\x1b$@"), []byte("\x1b(J"), []byte("\x1b(I")}

// guess decodes bytes without a known charset: as ISO-2022-JP if they have its escape sequences, as UTF-8, or as
// Windows-1252, as mail programs do.
func guess(b []byte) string {
	if isASCII(b) {
		for _, e := range escapes {
			if bytes.Contains(b, e) {
				return decodeWith(japanese.ISO2022JP, b)
			}
		}
		return string(b)
	}
	if utf8.Valid(b) {
		return string(b)
	}
	if good, _ := countUTF8(b); good == 0 {
		return decodeWith(charmap.Windows1252, b)
	}
	return byLine(b, func(line []byte) string {
		if good, bad := countUTF8(line); good > bad || bad == 0 {
			return strings.ToValidUTF8(string(line), "\uFFFD") // UTF-8 with a few broken bytes
		}
		return decodeWith(charmap.Windows1252, line)
	})
}

// byLine decodes each line for itself: a list or a gateway may have added some in a charset of its own.
func byLine(b []byte, decode func([]byte) string) string {
	var out strings.Builder
	out.Grow(len(b))
	for line := range bytes.Lines(b) {
		out.WriteString(decode(line))
	}
	return out.String()
}

// countUTF8 counts the multi-byte sequences and the bytes that belong to none.
func countUTF8(b []byte) (good, bad int) {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			bad++
		} else {
			good++
		}
		i += n
	}
	return good, bad
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Text makes a string valid for JSON and Postgres: bytes that are not UTF-8 are decoded as [guess] does, and NULs are
// removed.
func Text(s string) string {
	if !utf8.ValidString(s) {
		s = guess([]byte(s))
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// Cut cuts s to at most n bytes, between runes.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n] // not UTF-8 anyway
}
