package mailsearch

import (
	"bytes"
	"encoding/json"
)

// members calls visit for each member of a JSON object, in order, until visit returns false. The value is as it stands
// in the object, and may have white space at its end. It ends at the first byte that cannot be JSON. The value that an
// object is cut in is visited too.
func members(object []byte, visit func(key string, value []byte) bool) {
	i := skipSpace(object, 0)
	if i == len(object) || object[i] != '{' {
		return
	}
	for i++; ; i++ {
		i = skipSpace(object, i)
		end := stringEnd(object, i)
		if end < 0 {
			return
		}
		key := text(object[i:end])
		i = skipSpace(object, end)
		if i == len(object) || object[i] != ':' {
			return
		}
		start := skipSpace(object, i+1)
		if i = valueEnd(object, start); i < 0 {
			visit(key, object[start:]) // what is left of it
			return
		}
		if !visit(key, object[start:i]) || object[i] != ',' {
			return
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the place after the string that begins at i; -1 if none does.
func stringEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		escapes := 0
		for j := i + n - 1; j >= i && b[j] == '\\'; j-- {
			escapes++
		}
		i += n + 1
		if escapes%2 == 0 {
			return i
		}
	}
}

// valueEnd returns the place of the comma or bracket after the value that begins at i; -1 if there is none.
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = stringEnd(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return -1
}

// text decodes a JSON string; "" if it is another value.
func text(value []byte) (s string) {
	value = bytes.TrimRight(value, " \t\r\n")
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	_ = json.Unmarshal(value, &s)
	return s
}
