package datafilter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/jsonscan"
)

// Limits of a filter. An error that a limit causes names it.
const (
	// MaxPathBytes bounds a path.
	MaxPathBytes = 256
	// MaxPathKeys bounds the keys of a path.
	MaxPathKeys = 10
	// MaxNumberBytes bounds a number as it is written.
	MaxNumberBytes = 64
	// MaxExponent bounds the size of a number: it is 0, or from 1e-1000 to 1e1000.
	MaxExponent = 1000
)

// Parse reads a filter with at most so many values: each operator has one, and "in" one for each element. It returns nil
// for a filter without conditions. The error is an [*events.FieldError]. Its field is the place in the filter, which has
// the given name.
func Parse(name string, source []byte, most int) (*Filter, error) {
	p := &parser{at: name, most: most}
	source = trim(source)
	switch {
	case len(source) == 0 || string(source) == "null":
		return nil, nil //nolint:nilnil // no filter
	case !json.Valid(source) || !utf8.Valid(source) || source[0] != '{':
		return nil, p.fault(`must be a JSON object of paths, such as {"amount": {"gte": 10}}`)
	}
	f := &Filter{}
	p.members(source, func(path string, value []byte) {
		p.within("["+strconv.Quote(cut(path))+"]", func() {
			f.conditions = append(f.conditions, p.condition(path, value))
		})
	})
	if p.err == nil && p.count > most {
		p.err = p.fault("has more than %d values, which is the limit", most)
	}
	if p.err != nil || len(f.conditions) == 0 {
		return nil, p.err
	}
	slices.SortFunc(f.conditions, func(a, b condition) int { return strings.Compare(a.path, b.path) })
	return f, nil
}

// JSON returns the filter in its normal form, in which equal filters are equal but for how they write their numbers.
func (f *Filter) JSON() json.RawMessage {
	b := []byte{'{'}
	for i := range f.conditions {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, quote(f.conditions[i].path)...), ':')
		b = f.conditions[i].append(b)
	}
	return append(b, '}')
}

func (c *condition) append(b []byte) []byte {
	if c.none {
		return append(b, `{"exists":false}`...)
	}
	if c.tests[0].operator == opEquals {
		return append(b, c.tests[0].source[0]...)
	}
	for i, t := range c.tests {
		b = append(append(append(b, "{,"[min(i, 1)]), quote(t.operator)...), ':')
		switch list := strings.Join(t.source, ","); t.operator {
		case opIn:
			b = append(append(append(b, '['), list...), ']')
		default:
			b = append(b, list...)
		}
	}
	return append(b, '}')
}

// quote returns a text as JSON.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text can always be encoded
	return trim(b.Bytes())
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// split takes a path apart. It returns what is wrong with it, or "".
func split(path string) (keys []string, wrong string) {
	if len(path) > MaxPathBytes {
		return nil, fmt.Sprintf("is a path of %d bytes; the limit is %d", len(path), MaxPathBytes)
	}
	if fault := input.Text(path); fault != "" {
		return nil, "is a path that " + fault
	}
	var key []byte
	for i := 0; i <= len(path); i++ {
		switch {
		case i == len(path) || path[i] == '.':
			if len(key) == 0 {
				return nil, "is a path with an empty key"
			}
			keys, key = append(keys, string(key)), nil
		case path[i] != '\\':
			key = append(key, path[i])
		case i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			key = append(key, path[i])
		default:
			return nil, `is a path in which a backslash stands before neither a dot nor a backslash`
		}
	}
	if len(keys) > MaxPathKeys {
		return nil, fmt.Sprintf("is a path of %d keys; the limit is %d", len(keys), MaxPathKeys)
	}
	return keys, ""
}

// cut shortens a text of the filter that an error shows.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// parser reads a filter that is well-formed JSON.
type parser struct {
	at    string // the place
	most  int
	count int   // of values
	err   error // the first fault
}

func (p *parser) fault(format string, args ...any) error {
	return &events.FieldError{Field: p.at, Reason: fmt.Sprintf(format, args...)}
}

// fail keeps the first fault.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = p.fault(format, args...)
	}
}

// within calls f for a part of the place.
func (p *parser) within(part string, f func()) {
	before := p.at
	p.at += part
	f()
	p.at = before
}

// members calls f with each member of an object, until there is a fault.
func (p *parser) members(object []byte, f func(key string, value []byte)) {
	seen := map[string]bool{}
	jsonscan.Members(object, func(key string, value []byte) bool {
		if seen[key] {
			p.fail("has %s twice", strconv.Quote(cut(key)))
		} else {
			seen[key] = true
			f(key, trim(value))
		}
		return p.err == nil && p.count <= p.most
	})
}

// condition reads a condition: a value, or an object of operators.
func (p *parser) condition(path string, source []byte) condition {
	keys, wrong := split(path)
	if wrong != "" {
		p.fail("%s", wrong)
	}
	c := condition{path: path, keys: keys}
	if source[0] != '{' {
		c.tests = []test{p.test(opEquals, source)}
		return c
	}
	p.members(source, func(operator string, value []byte) {
		p.within("."+cut(operator), func() {
			c.tests = append(c.tests, p.test(operator, value))
			c.none = operator == opExists && string(value) == "false"
		})
	})
	exists := slices.ContainsFunc(c.tests, func(t test) bool { return t.operator == opExists })
	switch {
	case len(c.tests) == 0:
		p.fail("has no operator; there are %s", operatorList)
	case exists && len(c.tests) > 1:
		p.fail("has exists beside other operators, which ask for a value already")
	}
	slices.SortFunc(c.tests, func(a, b test) int {
		return slices.Index(operators, a.operator) - slices.Index(operators, b.operator)
	})
	return c
}

// test reads what an operator compares to.
func (p *parser) test(operator string, source []byte) test {
	t := test{operator: operator}
	switch operator {
	case opEquals:
		p.compared(&t, source)
	case opIn:
		p.elements(&t, source)
	case opPrefix:
		if p.compared(&t, source); source[0] != '"' || string(source) == `""` {
			p.fail("must be a text of one byte or more")
		}
	case opGreater, opGreaterOrEqual, opLess, opLessOrEqual:
		if p.compared(&t, source); len(t.values) > 0 && t.values[0].kind != kindNumber {
			p.fail("must be a number")
		}
	case opExists:
		p.count++
		if t.source = []string{string(source)}; source[0] != 't' && source[0] != 'f' {
			p.fail("must be true or false")
		}
	default:
		p.fail("is no operator; there are %s. A key within another follows it in the path, after a dot", operatorList)
	}
	return t
}

// elements reads the list of "in".
func (p *parser) elements(t *test, source []byte) {
	if source[0] != '[' {
		p.fail("must be a list of texts, numbers, true and false")
		return
	}
	n := 0
	jsonscan.Elements(source, func(element []byte) bool {
		p.within("["+strconv.Itoa(n)+"]", func() { p.compared(t, trim(element)) })
		n++
		return p.err == nil && p.count <= p.most
	})
	if n == 0 {
		p.fail("must have a value")
	}
	slices.SortFunc(t.values, func(a, b value) int { return a.compare(&b) })
}

// compared reads a value that those of events are compared to.
func (p *parser) compared(t *test, source []byte) {
	p.count++
	v, ok := parseValue(source)
	switch {
	case !ok && source[0] == 'n':
		p.fail(`must not be null; {"exists": false} is met if there is no value, or null`)
	case !ok && source[0] == '[' && t.operator == opEquals:
		p.fail(`must not be a list; {"in": [...]} is met by any of several values`)
	case !ok:
		p.fail("must be a text, a number, true or false")
	case v.kind == kindText:
		p.text(v.text)
		source = quote(string(v.text))
	case v.kind == kindNumber:
		p.number(source, v.number)
	}
	t.values, t.source = append(t.values, v), append(t.source, string(source))
}

func (p *parser) text(text []byte) {
	if len(text) > events.MaxKeyBytes {
		p.fail("has %d bytes; the limit is %d", len(text), events.MaxKeyBytes)
	}
	if fault := input.Text(string(text)); fault != "" {
		p.fail("%s", fault)
	}
}

func (p *parser) number(source []byte, n number) {
	switch {
	case len(source) > MaxNumberBytes:
		p.fail("is a number of %d characters; the limit is %d", len(source), MaxNumberBytes)
	case n.exponent > MaxExponent+1 || n.exponent <= -MaxExponent:
		p.fail("is a number that is not between 1e-%d and 1e%d in size", MaxExponent, MaxExponent)
	}
}
