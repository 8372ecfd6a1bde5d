package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// cell formats a value on one line.
func cell(v any) string {
	var parts []string
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return printable(v)
	case []any:
		between := ","
		if !flat(v) {
			between = "; "
		}
		for _, e := range v {
			parts = append(parts, cell(e))
		}
		return orDash(strings.Join(parts, between))
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, printable(name)+": "+cell(v[name]))
		}
		return orDash(strings.Join(parts, ", "))
	}
	return printable(fmt.Sprint(v))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// printable replaces control characters, so that text of strangers cannot
// control the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// flat says whether a list has neither objects nor lists.
func flat(list []any) bool {
	return !slices.ContainsFunc(list, func(e any) bool {
		switch e.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

// escaped escapes the characters of JSON text that are not printable. Outside of strings there are none but line breaks.
func escaped(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
