package datafilter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fanmail-dev/fanmail/internal/datafilter"
)

// The reference decodes the whole event with package encoding/json, and compares numbers as fractions.

// valuesAt are the values at a path.
func valuesAt(v any, keys []string) (out []any) {
	switch v := v.(type) {
	case nil:
	case []any:
		for _, each := range v {
			out = append(out, valuesAt(each, keys)...)
		}
	case map[string]any:
		if len(keys) == 0 {
			return []any{v}
		}
		out = valuesAt(v[keys[0]], keys[1:])
	default:
		if len(keys) == 0 {
			out = []any{v}
		}
	}
	return out
}

func fraction(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		panic("no number: " + n)
	}
	return r
}

func same(a, b any) bool {
	n, isNumber := a.(json.Number)
	m, other := b.(json.Number)
	if isNumber && other {
		return fraction(n).Cmp(fraction(m)) == 0
	}
	_, object := a.(map[string]any)
	return !object && a == b
}

func passes(v any, operator string, to any) bool {
	switch operator {
	case "in":
		return slices.ContainsFunc(to.([]any), func(each any) bool { return same(v, each) })
	case "prefix":
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, to.(string))
	}
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	c := fraction(n).Cmp(fraction(to.(json.Number)))
	return map[string]bool{"gt": c > 0, "gte": c >= 0, "lt": c < 0, "lte": c <= 0}[operator]
}

// meets reports whether data meets the conditions.
func meets(data any, conditions map[string]any) bool {
	for path, condition := range conditions {
		values := valuesAt(data, pathKeys[path])
		operators, ok := condition.(map[string]any)
		if !ok {
			if !slices.ContainsFunc(values, func(v any) bool { return same(v, condition) }) {
				return false
			}
			continue
		}
		if exists, ok := operators["exists"]; ok {
			if exists.(bool) != (len(values) > 0) {
				return false
			}
			continue
		}
		one := slices.ContainsFunc(values, func(v any) bool {
			for operator, to := range operators {
				if !passes(v, operator, to) {
					return false
				}
			}
			return true
		})
		if !one {
			return false
		}
	}
	return true
}

// pathKeys are the paths of filters, and their keys.
var pathKeys = func() map[string][]string {
	out := map[string][]string{}
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	for _, a := range keys {
		out[escape.Replace(a)] = []string{a}
		for _, b := range keys {
			out[escape.Replace(a)+"."+escape.Replace(b)] = []string{a, b}
		}
	}
	return out
}()

var (
	keys    = []string{"a", "b", "c.d", `e\f`, `é"`}
	paths   = slices.Sorted(maps.Keys(pathKeys))
	words   = []string{"", "a", "ab", "abc", "A", "Ä", "ä", `q"uote`, `back\slash`, "line\nend", "\u2028", "𝄞"}
	numbers = []string{
		"0", "-0", "0.0", "1", "1.0", "10e-1", "0.1e1", "1E0", "-1", "2", "10", "1e1", "9007199254740992", "9007199254740993", "9007199254740993.0",
		"-9007199254740993", "0.1", "0.10000000000000001", "123456789012345678901234567890", "123456789012345678901234567891", "1e30", "1e-30", "-1e-30", "1.5e+3", "1500",
	}
)

func scalar(t *rapid.T) any {
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom(words).Draw(t, "text")
	case 1, 2:
		return json.Number(rapid.SampledFrom(numbers).Draw(t, "number"))
	}
	return rapid.Bool().Draw(t, "bool")
}

func anyValue(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case kind == 0:
		return nil
	case kind < 4 && depth > 0:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, anyValue(t, depth-1))
		}
		return list
	case kind < 7 && depth > 0:
		return object(t, depth)
	}
	return scalar(t)
}

func object(t *rapid.T, depth int) map[string]any {
	out := map[string]any{}
	for _, key := range keys {
		if rapid.Bool().Draw(t, "has") {
			out[key] = anyValue(t, depth-1)
		}
	}
	return out
}

// encode writes JSON with white space and escapes wherever they are allowed.
func encode(t *rapid.T, b *bytes.Buffer, v any) {
	space := func() { b.WriteString(rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space")) }
	space()
	defer space()
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(t, b, key)
			b.WriteByte(':')
			encode(t, b, v[key])
		}
		space()
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, each := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(t, b, each)
		}
		space()
		b.WriteByte(']')
	case string:
		b.WriteByte('"')
		for _, r := range v {
			switch {
			case r < 0x10000 && (r < ' ' || rapid.IntRange(0, 4).Draw(t, "escape") == 0):
				fmt.Fprintf(b, `\u%04x`, r)
			case r == '"' || r == '\\':
				b.WriteString(`\` + string(r))
			default:
				b.WriteRune(r)
			}
		}
		b.WriteByte('"')
	default:
		plain, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		b.Write(plain)
	}
}

func conditions(t *rapid.T) map[string]any {
	out := map[string]any{}
	for range rapid.IntRange(1, 3).Draw(t, "conditions") {
		path := rapid.SampledFrom(paths).Draw(t, "path")
		switch rapid.IntRange(0, 4).Draw(t, "operators") {
		case 0:
			out[path] = scalar(t)
		case 1:
			out[path] = map[string]any{"exists": rapid.Bool().Draw(t, "exists")}
		case 2:
			out[path] = map[string]any{"in": []any{scalar(t), scalar(t), scalar(t)}}
		case 3:
			out[path] = map[string]any{"prefix": rapid.SampledFrom(words[1:]).Draw(t, "prefix")}
		default:
			operators := map[string]any{}
			for _, name := range []string{"gt", "gte", "lt", "lte", "in"} {
				if rapid.IntRange(0, 2).Draw(t, "has") > 0 {
					continue
				}
				if operators[name] = any(json.Number(rapid.SampledFrom(numbers).Draw(t, "bound"))); name == "in" {
					operators[name] = []any{scalar(t), scalar(t)}
				}
			}
			if len(operators) > 0 {
				out[path] = operators
			}
		}
	}
	return out
}

func TestAFilterDecidesAsAReferenceDoesThatDecodesEverything(t *testing.T) {
	t.Parallel()
	matched, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		data := object(t, 4)
		var list []*datafilter.Filter
		var wanted []map[string]any
		for range rapid.IntRange(4, 8).Draw(t, "filters") {
			want := conditions(t)
			var source bytes.Buffer
			encode(t, &source, want)
			f, err := datafilter.Parse("data", source.Bytes(), 50)
			require.NoError(t, err, source.String())
			if f == nil {
				require.Empty(t, want)
				continue
			}
			stored, err := datafilter.Parse("data", f.JSON(), 50)
			require.NoError(t, err, string(f.JSON()))
			list, wanted = append(list, f, stored), append(wanted, want, want)
		}
		var e bytes.Buffer
		encode(t, &e, map[string]any{"type": "x", "data": data, "z": data})
		require.True(t, json.Valid(e.Bytes()))
		values := datafilter.NewPlan(list...).Read(e.Bytes())
		for i, f := range list {
			want := meets(data, wanted[i])
			if want {
				matched++
			} else {
				refused++
			}
			require.Equal(t, want, f.Match(values), "%s of %s", f.JSON(), e.String())
			require.Equal(t, want, f.Unmet(values) == "")
		}
	})
	require.Greater(t, matched, 5)
	require.Greater(t, refused, 5)
}

// Numbers of any form compare as fractions do.
func TestNumbersCompareAsFractionsDo(t *testing.T) {
	t.Parallel()
	number := rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign") + rapid.StringMatching(`(0|[1-9][0-9]{0,20})`).Draw(t, "whole")
		s += rapid.StringMatching(`(\.[0-9]{1,20})?`).Draw(t, "fraction")
		return s + rapid.StringMatching(`([eE][+-]?[0-9]{1,2})?`).Draw(t, "exponent")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if rapid.Bool().Draw(t, "near") { // the same digits in another form
			b = a + "000"
			if strings.ContainsAny(a, "eE") || !strings.Contains(a, ".") {
				b = a
			}
		}
		c := fraction(json.Number(a)).Cmp(fraction(json.Number(b)))
		for operator, want := range map[string]bool{"gt": c > 0, "gte": c >= 0, "lt": c < 0, "lte": c <= 0} {
			f, err := datafilter.Parse("data", []byte(`{"n":{"`+operator+`":`+b+`}}`), 50)
			require.NoError(t, err)
			require.Equal(t, want, match(f, envelope(`{"n":`+a+`}`)), "%s %s %s", a, operator, b)
		}
		f, err := datafilter.Parse("data", []byte(`{"n":`+b+`}`), 50)
		require.NoError(t, err)
		require.Equal(t, c == 0, match(f, envelope(`{"n":`+a+`}`)), "%s = %s", a, b)
	})
}
