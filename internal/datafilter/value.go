package datafilter

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/jsonscan"
)

// kind is the kind of a value. There is none for null, which is no value, and none for a list, which stands for its
// elements.
type kind byte

const (
	kindText kind = iota + 1
	kindNumber
	kindTrue
	kindFalse
	kindObject
)

// value is a value of an event's data, or of a filter.
type value struct {
	kind   kind
	text   []byte // of a text
	number number // of a number
}

// parseValue reads a value of JSON that is no list and no object. It reports false for null and for what is no value.
func parseValue(b []byte) (value, bool) {
	if len(b) == 0 {
		return value{}, false
	}
	switch c := b[0]; {
	case c == '"' && bytes.IndexByte(b, '\\') < 0:
		return value{kind: kindText, text: b[1 : len(b)-1]}, true
	case c == '"':
		return value{kind: kindText, text: []byte(jsonscan.Text(b))}, true
	case c == 't':
		return value{kind: kindTrue}, true
	case c == 'f':
		return value{kind: kindFalse}, true
	case c == '-' || c >= '0' && c <= '9':
		return value{kind: kindNumber, number: parseNumber(b)}, true
	}
	return value{}, false
}

// compare orders values: by their kinds, then texts by their bytes and numbers by their size.
func (v *value) compare(o *value) int {
	switch {
	case v.kind != o.kind:
		return cmp.Compare(v.kind, o.kind)
	case v.kind == kindText:
		return bytes.Compare(v.text, o.text)
	case v.kind == kindNumber:
		return v.number.compare(o.number)
	}
	return 0
}

// The operators of a condition.
const (
	opEquals         = "" // is not written
	opIn             = "in"
	opPrefix         = "prefix"
	opGreater        = "gt"
	opGreaterOrEqual = "gte"
	opLess           = "lt"
	opLessOrEqual    = "lte"
	opExists         = "exists"
)

// operators are those that are written, in the order of the normal form.
var operators = []string{opIn, opPrefix, opGreater, opGreaterOrEqual, opLess, opLessOrEqual, opExists}

// operatorList names them in errors.
var operatorList = strings.Join(operators, ", ")

// test is an operator with what it compares to: one value, or those of "in", in their order, so that a value is found
// among them in few steps. "exists" compares to none.
type test struct {
	operator string
	values   []value
	source   []string // the values as JSON, as they were given
}

// passes reports whether a value passes the test.
func (t *test) passes(v *value) bool {
	switch t.operator {
	case opEquals, opIn:
		_, found := slices.BinarySearchFunc(t.values, v, func(each value, v *value) int { return each.compare(v) })
		return found
	case opPrefix:
		return v.kind == kindText && bytes.HasPrefix(v.text, t.values[0].text)
	case opExists:
		return true
	}
	if v.kind != kindNumber {
		return false
	}
	c := v.number.compare(t.values[0].number)
	switch t.operator {
	case opGreater:
		return c > 0
	case opGreaterOrEqual:
		return c >= 0
	case opLess:
		return c < 0
	}
	return c <= 0
}
