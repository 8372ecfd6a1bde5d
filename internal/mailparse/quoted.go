package mailparse

import "strings"

// quotedString reads a quoted string and undoes its escapes.
func quotedString(v string) (text string, n int, ok bool) {
	var out strings.Builder
	for i := 1; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\' && i+1 < len(v):
			i++
			out.WriteByte(v[i])
		case c == '"':
			return out.String(), i + 1, true
		default:
			out.WriteByte(c)
		}
	}
	return "", 0, false
}

// readComment reads a comment with those inside it. One that is not closed ends with the text.
func readComment(v string) (text string, n int) {
	var out strings.Builder
	depth := 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\' && i+1 < len(v):
			i++
			out.WriteByte(v[i])
		case c == '(':
			if depth++; depth > 1 {
				out.WriteByte(c)
			}
		case c == ')':
			if depth--; depth == 0 {
				return strings.TrimSpace(out.String()), i + 1
			}
			out.WriteByte(c)
		default:
			out.WriteByte(c)
		}
	}
	return strings.TrimSpace(out.String()), len(v)
}
