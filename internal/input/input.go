package input

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The range of times. Nothing here is older than 1970. A year has four digits in
// RFC 3339.
var (
	Earliest = time.Unix(0, 0).UTC()
	Latest   = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
)

// Time returns what is wrong with a time, or "".
func Time(t time.Time) (fault string) {
	if t.Before(Earliest) || t.After(Latest) {
		return "must be from 1970-01-01 to 9999-12-31 in UTC"
	}
	return ""
}

// Text returns what is wrong with a text, or "". Postgres stores neither a NUL
// byte nor text that is not UTF-8.
func Text(s string) (fault string) {
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "holds a NUL byte"
	}
	return ""
}

// Shown returns a text that people read in normalization form C, so that what
// looks the same is the same. Text that programs compare with other text must stay
// as it is.
func Shown(s string) string { return norm.NFC.String(s) }

// Choice returns what is wrong with a value that must be one of a list, or "". An
// empty value is right: it chooses nothing.
func Choice[T ~string](value T, allowed []T) (fault string) {
	if value == "" || slices.Contains(allowed, value) {
		return ""
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	shown := string(value)
	if len(shown) > 64 {
		shown = shown[:64] + "…"
	}
	return fmt.Sprintf("is %q; it must be one of: %s", shown, strings.Join(names, ", "))
}
