package mailparse

import (
	"slices"
	"strconv"
	"strings"
)

// maxParams is how many parameters of a field are read.
const maxParams = 100

// mediaField is a Content-Type or Content-Disposition: a value in lower case, and parameters by name in lower case.
type mediaField struct {
	value  string
	params map[string]string // decoded
	raw    map[string]string // of the boundary: as it stands
}

// param is one parameter as it stands in the field.
type param struct{ name, value string }

// parseMediaField reads a field as mail programs do: it takes what it can, and never fails. Both RFC 2231 and RFC 2047
// are decoded in parameters. label is the charset of other 8-bit bytes, "" for unknown.
func parseMediaField(v, label string) mediaField {
	v = Cut(v, MaxField)
	head, rest, _ := strings.Cut(v, ";")
	f := mediaField{params: map[string]string{}, raw: map[string]string{}}
	head = strings.TrimSpace(dropComments(head))
	if i := strings.IndexAny(head, " \t\""); i >= 0 {
		// A semicolon is missing: "text/plain charset=utf-8".
		head, rest = head[:i], head[i:]+";"+rest
	}
	f.value = strings.ToLower(Text(head))
	list := splitParams(rest)
	for _, p := range list {
		if _, ok := f.raw[p.name]; !ok {
			f.raw[p.name] = p.value
		}
	}
	for name, parts := range extended(list) {
		f.params[name] = joinExtended(parts)
	}
	for _, p := range list {
		if _, ok := f.params[p.name]; !ok && !strings.Contains(p.name, "*") {
			f.params[p.name] = decodeWords(p.value, label)
		}
	}
	return f
}

// splitParams reads "; name=value" pairs. A value may be quoted, with unescaped quotes and path separators in it.
func splitParams(v string) []param {
	var out []param
	for len(v) > 0 && len(out) < maxParams {
		v = strings.TrimLeft(v, "; \t\r\n")
		end := strings.IndexAny(v, "=;")
		if end < 0 {
			break
		}
		if v[end] == ';' {
			v = v[end:]
			continue
		}
		name := strings.ToLower(strings.TrimSpace(dropComments(v[:end])))
		if i := strings.LastIndexAny(name, " \t"); i >= 0 {
			name = name[i+1:]
		}
		v = strings.TrimLeft(v[end+1:], " \t\r\n")
		var value string
		if strings.HasPrefix(v, `"`) {
			value, v = quotedValue(v[1:])
		} else {
			end := strings.IndexByte(v, ';')
			if end < 0 {
				end = len(v)
			}
			value = strings.TrimSpace(v[:end])
			if i := strings.Index(value, " ("); i >= 0 && strings.HasSuffix(value, ")") {
				value = strings.TrimSpace(value[:i]) // a comment; "a(1).pdf" is none
			}
			v = v[end:]
		}
		if name != "" {
			out = append(out, param{name, value})
		}
	}
	return out
}

// quotedValue reads up to the quote that ends the value: the one before a semicolon or the end. A backslash escapes
// only quotes and backslashes, because Windows paths are written without escapes.
func quotedValue(v string) (value, rest string) {
	var out strings.Builder
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\' && i+1 < len(v) && (v[i+1] == '"' || v[i+1] == '\\'):
			i++
			out.WriteByte(v[i])
		case c == '"':
			after := i + 1
			for after < len(v) && (v[after] == ' ' || v[after] == '\t') {
				after++
			}
			if after == len(v) || v[after] == ';' || v[after] == '(' || nextParam(v[after:]) {
				return out.String(), v[after:]
			}
			out.WriteByte(c)
			// The white space was looked at: a run of quotes and spaces is read once.
			out.WriteString(v[i+1 : after])
			i = after - 1
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), ""
}

// nextParam reports whether v begins with a parameter before which the semicolon is missing.
func nextParam(v string) bool {
	for _, name := range []string{"charset=", "name=", "filename=", "boundary=", "format=", "type=", "size="} {
		if len(v) >= len(name) && strings.EqualFold(v[:len(name)], name) {
			return true
		}
	}
	return false
}

// piece is a part of a parameter that RFC 2231 continues.
type piece struct {
	n       int
	encoded bool
	value   string
}

// extended collects the parameters that RFC 2231 encodes or continues, by name.
func extended(list []param) map[string][]piece {
	out := map[string][]piece{}
	for _, p := range list {
		name, star, ok := strings.Cut(p.name, "*")
		if !ok || name == "" {
			continue
		}
		c := piece{value: p.value}
		if number, encoded := strings.CutSuffix(star, "*"); encoded || star == "" {
			star, c.encoded = number, true
		}
		if star != "" {
			n, err := strconv.Atoi(star)
			if err != nil || n < 0 {
				continue
			}
			c.n = n
		}
		if !slices.ContainsFunc(out[name], func(have piece) bool { return have.n == c.n }) {
			out[name] = append(out[name], c)
		}
	}
	return out
}

// joinExtended decodes a continued parameter. A charset and a language stand before its first piece. Pieces are put in
// order; a gap in the numbers is skipped, because most of a name is better than none.
func joinExtended(parts []piece) string {
	slices.SortStableFunc(parts, func(a, b piece) int { return a.n - b.n })
	var (
		raw     []byte
		label   string
		encoded bool
	)
	for i, p := range parts {
		v := p.value
		if i == 0 && p.encoded {
			if charset, rest, ok := strings.Cut(v, "'"); ok {
				if _, text, ok := strings.Cut(rest, "'"); ok {
					label, v = charset, text
				}
			}
		}
		if p.encoded {
			encoded = true
			raw = appendPercent(raw, v)
		} else {
			raw = append(raw, v...)
		}
	}
	if !encoded {
		return DecodeWords(string(raw))
	}
	s, _ := decodeCharset(raw, label)
	return oneLine(Text(s))
}

func appendPercent(dst []byte, v string) []byte {
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '%' && i+2 < len(v) && isHex(v[i+1]) && isHex(v[i+2]) {
			c = unhex(v[i+1])<<4 | unhex(v[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// dropComments removes RFC 5322's comments outside quotes. It leaves a parenthesis that is not closed.
func dropComments(v string) string {
	if !strings.Contains(v, "(") || strings.Count(v, "(") != strings.Count(v, ")") {
		return v
	}
	var out strings.Builder
	depth := 0
	for i := range len(v) {
		switch c := v[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteByte(c)
		}
	}
	return out.String()
}
