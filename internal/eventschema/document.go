package eventschema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// decode decodes JSON with its numbers as they are written.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// objects counts the objects and booleans of a document: it has no more subschemas.
func objects(v any) int {
	n := 0
	switch v := v.(type) {
	case bool:
		n = 1
	case map[string]any:
		n = 1
		for _, field := range v {
			n += objects(field)
		}
	case []any:
		for _, item := range v {
			n += objects(item)
		}
	}
	return n
}

// numbers returns what is wrong with the numbers in a document; "" for nothing.
func numbers(v any) string {
	at, found := badNumber(v)
	if !found {
		return ""
	}
	return fmt.Sprintf("has, at %s, a number of over %d digits or with an exponent beyond that", clip(at, 300), maxNumber)
}

// badNumber returns the pointer to a number that is too large to compare.
func badNumber(v any) (at string, found bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if at, found = badNumber(field); found {
				return "/" + escape(name) + at, true
			}
		}
	case []any:
		for i, item := range v {
			if at, found = badNumber(item); found {
				return "/" + strconv.Itoa(i) + at, true
			}
		}
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		n, err := strconv.Atoi(exponent)
		return "", len(v) > maxNumber || exponent != "" && (err != nil || n > maxNumber || n < -maxNumber)
	}
	return "", false
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

var escapes = strings.NewReplacer("~", "~0", "/", "~1")

// escape is a token of a JSON pointer.
func escape(token string) string { return escapes.Replace(token) }
