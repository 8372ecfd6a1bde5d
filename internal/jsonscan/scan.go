package jsonscan

import (
	"bytes"
	"encoding/json"
)

// SkipSpace returns the place of the first byte from i on that is no white space.
func SkipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// StringEnd returns the place after the string that begins at i; -1 if none does.
func StringEnd(b []byte, i int) int {
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

// ValueEnd returns the place of the comma or bracket after the value that begins at i; -1 if there is none.
func ValueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = StringEnd(b, i); i < 0 {
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

// Text decodes a JSON string, which may have white space at its end; "" if it is another value.
func Text(value []byte) (s string) {
	value = bytes.TrimRight(value, " \t\r\n")
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	_ = json.Unmarshal(value, &s)
	return s
}

// Members calls visit for each member of a JSON object, in order, until visit returns false. The value is as it stands
// in the object, and may have white space at its end. It ends at the first byte that cannot be JSON. The value that an
// object is cut in is visited too.
func Members(object []byte, visit func(key string, value []byte) bool) {
	i := SkipSpace(object, 0)
	if i == len(object) || object[i] != '{' {
		return
	}
	for i++; ; i++ {
		i = SkipSpace(object, i)
		end := StringEnd(object, i)
		if end < 0 {
			return
		}
		key := Text(object[i:end])
		i = SkipSpace(object, end)
		if i == len(object) || object[i] != ':' {
			return
		}
		start := SkipSpace(object, i+1)
		if i = ValueEnd(object, start); i < 0 {
			visit(key, object[start:]) // what is left of it
			return
		}
		if !visit(key, object[start:i]) || object[i] != ',' {
			return
		}
	}
}

// Elements calls visit for each element of a JSON list, in order, until visit returns false. The element may have white
// space at its end. It ends at the first byte that cannot be JSON.
func Elements(list []byte, visit func(element []byte) bool) {
	i := SkipSpace(list, 0)
	if i == len(list) || list[i] != '[' {
		return
	}
	for i++; ; i++ {
		start := SkipSpace(list, i)
		if i = ValueEnd(list, start); i <= start || !visit(list[start:i]) || list[i] != ',' {
			return
		}
	}
}
