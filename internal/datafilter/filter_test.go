package datafilter_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/datafilter"
)

func parse(t testing.TB, source string) *datafilter.Filter {
	t.Helper()
	f, err := datafilter.Parse("data", []byte(source), 50)
	require.NoError(t, err, source)
	return f
}

func envelope(data string) []byte {
	return []byte(`{"type":"order.created","id":"evt_1","created_at":"x","schema_version":"1","data":` + data + `}`)
}

func match(f *datafilter.Filter, envelope []byte) bool {
	return f.Match(datafilter.NewPlan(f).Read(envelope))
}

const order = `{"kind":"order","amount":10.50,"big":9007199254740993,"tiny":1e-400,"paid":true,"note":null,"none":[],"empty":"",` +
	`"from":{"name":"Ann \"A\" Müller","address":"ann@example.org"},"to":[{"address":"sales@example.com"},{"address":null},{"address":"ben@example.com","vip":false}],` +
	`"tags":["red",["blue",7]],"a.b":{"c\\d":"deep"},"object":{},"text":"from kind \\\\\" order"}`

func TestAConditionIsMetByOneValueAtItsPath(t *testing.T) {
	t.Parallel()
	require.True(t, json.Valid([]byte(order)))
	for source, want := range map[string]bool{
		// Equality is exact, and between values of one kind.
		`{"kind":"order"}`: true, `{"kind":"Order"}`: false, `{"kind":"orde"}`: false, `{"paid":true}`: true, `{"paid":false}`: false,
		`{"paid":"true"}`: false, `{"amount":"10.50"}`: false, `{"empty":""}`: true, `{"from.name":"Ann \"A\" Müller"}`: true,
		`{"from.name":"Ann \u0022A\u0022 M\u00fcller"}`: true,
		// Numbers are not rounded.
		`{"amount":10.5}`: true, `{"amount":1050e-2}`: true, `{"amount":10.500000000000000001}`: false, `{"big":9007199254740993}`: true,
		`{"big":9007199254740992}`: false, `{"big":{"gt":9007199254740992}}`: true, `{"big":{"lt":9007199254740994}}`: true,
		`{"tiny":0}`: false, `{"tiny":{"gt":0}}`: true, `{"tiny":{"gt":-0.0}}`: true, `{"tiny":{"lt":1e-399}}`: true,
		`{"amount":{"gte":10.5}}`: true, `{"amount":{"gt":10.5}}`: false, `{"amount":{"lte":10.5}}`: true, `{"amount":{"lt":10.5}}`: false,
		`{"amount":{"gte":10,"lt":11}}`: true, `{"amount":{"gte":10,"lt":10.2}}`: false, `{"kind":{"gte":0}}`: false,
		`{"amount":{"gte":-1e1000}}`: true,
		// Other operators.
		`{"kind":{"in":["x","order"]}}`: true, `{"kind":{"in":["x",1,true]}}`: false, `{"amount":{"in":["x",10.5]}}`: true,
		`{"kind":{"prefix":"ord"}}`: true, `{"kind":{"prefix":"rd"}}`: false, `{"amount":{"prefix":"10"}}`: false,
		`{"kind":{"prefix":"o","in":["order","other"]}}`: true, `{"kind":{"prefix":"x","in":["order"]}}`: false,
		// A list stands for its elements, wherever it is.
		`{"to.address":"ben@example.com"}`: true, `{"to.address":{"prefix":"sales@"}}`: true, `{"to.address":"sales@"}`: false,
		`{"tags":"red"}`: true, `{"tags":"blue"}`: true, `{"tags":{"gte":7}}`: true, `{"tags":"green"}`: false, `{"to.vip":false}`: true,
		// One value passes all operators.
		`{"to.address":{"prefix":"s","in":["sales@example.com"]}}`: true, `{"to.address":{"prefix":"s","in":["ben@example.com"]}}`: false,
		// Existence. Null and an empty list are no values, an object is one.
		`{"kind":{"exists":true}}`: true, `{"kind":{"exists":false}}`: false, `{"note":{"exists":true}}`: false, `{"note":{"exists":false}}`: true,
		`{"none":{"exists":true}}`: false, `{"to":{"exists":true}}`: true, `{"object":{"exists":true}}`: true, `{"object":{"exists":false}}`: false,
		`{"from":{"exists":true}}`: true, `{"from.age":{"exists":false}}`: true, `{"kind.x":{"exists":false}}`: true, `{"nowhere.x":{"exists":true}}`: false,
		`{"from":"ann@example.org"}`: false,
		// Keys with dots and backslashes.
		`{"a\\.b.c\\\\d":"deep"}`: true, `{"a.b":{"exists":true}}`: false, `{"a\\.b":{"exists":true}}`: true,
		// All conditions must be met.
		`{"kind":"order","amount":{"gte":10},"to.address":{"prefix":"sales@"}}`: true, `{"kind":"order","amount":{"gte":11}}`: false,
		// What stands around the data is not read.
		`{"type":{"exists":true}}`: false, `{"data":{"exists":true}}`: false,
	} {
		f := parse(t, source)
		require.Equal(t, want, match(f, envelope(order)), source)
		require.Equal(t, want, f.Unmet(datafilter.NewPlan(f).Read(envelope(order))) == "", source)
	}
	require.Equal(t, `{"amount":{"gte":11}}`, parse(t, `{"kind":"order","amount":{"gte":11}}`).Unmet(datafilter.NewPlan(parse(t, `{"kind":"x","amount":1}`)).Read(envelope(order))))
}

func TestAFilterHasANormalForm(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"": "", "null": "", " {} ": "",
		`{"b": 1.50, "a": {"lt": 3, "gte":1e0}}`:         `{"a":{"gte":1e0,"lt":3},"b":1.50}`,
		`{"a": {"in": [true, "\u0041<", -0]}}`:           `{"a":{"in":[true,"A<",-0]}}`,
		"{\"a\\\\.\\u0062\": {\"exists\" :\tfalse}}":     `{"a\\.b":{"exists":false}}`,
		`{"a":{"exists":true},"c":{"prefix":"é\ud800"}}`: `{"a":{"exists":true},"c":{"prefix":"é�"}}`,
	} {
		f := parse(t, source)
		if want == "" {
			require.Nil(t, f, source)
			continue
		}
		require.Equal(t, want, string(f.JSON()))
		require.Equal(t, want, string(parse(t, want).JSON()), "the normal form is its own")
	}
}

func TestABadFilterIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	in := func(n int) string { return `{"a":{"in":[` + strings.Repeat("1,", n-1) + `1]}}` }
	path := func(n int) string { return `{"` + strings.Repeat("p", n) + `":1}` }
	text := func(n int) string { return `{"a":"` + strings.Repeat("t", n) + `"}` }
	digits := func(n int) string { return `{"a":` + strings.Repeat("1", n) + `}` }
	for _, sound := range []string{
		in(50), path(datafilter.MaxPathBytes), text(events.MaxKeyBytes), digits(datafilter.MaxNumberBytes), `{"a.b.c.d.e.f.g.h.i.j":1}`,
		`{"a":1e1000}`, `{"a":-9.9e1000}`, `{"a":1e-1000}`, `{"a":0e9999}`,
	} {
		_, err := datafilter.Parse("data", []byte(sound), 50)
		require.NoError(t, err, "it is at its limit: %s", sound)
	}
	for source, want := range map[string]string{
		`[]`: "data: must be a JSON object", `"x"`: "data: must be a JSON object", `{`: "data: must be a JSON object", "{\"a\":\"\xff\"}": "data: must be a JSON object",
		`{"a":NaN}`: "data: must be a JSON object", `{"a":Infinity}`: "data: must be a JSON object",
		in(51): "data: has more than 50 values, which is the limit",
		`{"a":{"gt":1,"lt":2},"b":{"in":[` + strings.Repeat("1,", 48) + `1]}}`: "data: has more than 50 values",
		path(257):                        `data["` + strings.Repeat("p", 64) + `…"]: is a path of 257 bytes; the limit is 256`,
		`{"a.b.c.d.e.f.g.h.i.j.k":1}`:    `data["a.b.c.d.e.f.g.h.i.j.k"]: is a path of 11 keys; the limit is 10`,
		`{"":1}`:                         `data[""]: is a path with an empty key`,
		`{"a..b":1}`:                     "empty key",
		`{"a.":1}`:                       "empty key",
		`{"a\\b":1}`:                     "backslash",
		`{"a\\":1}`:                      "backslash",
		`{"a\u0000":1}`:                  "is a path that holds a NUL byte",
		`{"a":1,"b":2,"a":3}`:            `data: has "a" twice`,
		`{"a":{"gt":1,"gt":2}}`:          `data["a"]: has "gt" twice`,
		`{"a":{}}`:                       `data["a"]: has no operator; there are in, prefix, gt, gte, lt, lte, exists`,
		`{"a":{"eq":1}}`:                 `data["a"].eq: is no operator; there are in, prefix, gt, gte, lt, lte, exists`,
		`{"a":{"b":{"c":1}}}`:            `data["a"].b: is no operator`,
		`{"a":null}`:                     `data["a"]: must not be null; {"exists": false}`,
		`{"a":[1]}`:                      `data["a"]: must not be a list; {"in": [...]}`,
		`{"a":{"in":1}}`:                 `data["a"].in: must be a list`,
		`{"a":{"in":[]}}`:                `data["a"].in: must have a value`,
		`{"a":{"in":["x",null]}}`:        `data["a"].in[1]: must not be null`,
		`{"a":{"in":["x",["y"]]}}`:       `data["a"].in[1]: must be a text, a number, true or false`,
		`{"a":{"in":["x",{"gt":1}]}}`:    `data["a"].in[1]: must be a text, a number, true or false`,
		`{"a":{"prefix":1}}`:             `data["a"].prefix: must be a text`,
		`{"a":{"prefix":""}}`:            `data["a"].prefix: must be a text of one byte or more`,
		`{"a":{"gt":"1"}}`:               `data["a"].gt: must be a number`,
		`{"a":{"gte":true}}`:             `data["a"].gte: must be a number`,
		`{"a":{"lt":[1]}}`:               `data["a"].lt: must be a text, a number`,
		`{"a":{"lte":null}}`:             `data["a"].lte: must not be null`,
		`{"a":{"exists":"yes"}}`:         `data["a"].exists: must be true or false`,
		`{"a":{"exists":null}}`:          `data["a"].exists: must be true or false`,
		`{"a":{"exists":false,"gt":1}}`:  `data["a"]: has exists beside other operators`,
		text(999):                        `data["a"]: has 999 bytes; the limit is 998`,
		`{"a":"\u0000"}`:                 `data["a"]: holds a NUL byte`,
		digits(65):                       `data["a"]: is a number of 65 characters; the limit is 64`,
		`{"a":{"gt":1e1001}}`:            `data["a"].gt: is a number that is not between 1e-1000 and 1e1000 in size`,
		`{"a":-1e-1001}`:                 "is a number that is not between",
		`{"a":1e999999999999999999999}`:  "is a number that is not between",
		`{"a":-1e-99999999999999999999}`: "is a number that is not between",
	} {
		f, err := datafilter.Parse("data", []byte(source), 50)
		var field *events.FieldError
		require.ErrorAs(t, err, &field, source)
		require.ErrorContains(t, err, want, source)
		require.Nil(t, f)
	}
}

func TestOnlyTheFirstValuesAreCompared(t *testing.T) {
	t.Parallel()
	data := func(before int) []byte { return envelope(`{"n":[` + strings.Repeat("0,", before) + `1]}`) }
	f := parse(t, `{"n":1}`)
	require.True(t, match(f, data(datafilter.MaxValues-1)))
	require.False(t, match(f, data(datafilter.MaxValues)))
}

// One plan serves many filters, and each of them sees what it would see alone.
func TestAPlanServesFiltersThatShareKeys(t *testing.T) {
	t.Parallel()
	var filters []*datafilter.Filter
	for _, source := range []string{`{"from":{"exists":true}}`, `{"from.address":"ann@example.org"}`, `{"from.name":{"exists":false}}`, `{"to.address":{"prefix":"ben"},"kind":"x"}`, `{"kind":"order"}`} {
		filters = append(filters, parse(t, source), nil)
	}
	values := datafilter.NewPlan(filters...).Read(envelope(order))
	for _, f := range filters {
		if f != nil {
			require.Equal(t, match(f, envelope(order)), f.Match(values), string(f.JSON()))
		}
	}
	require.False(t, datafilter.Broken().Match(values))
	require.NotEmpty(t, datafilter.Broken().Unmet(values))
}

func TestBytesThatAreNoEnvelopeHaveNoValues(t *testing.T) {
	t.Parallel()
	f, absent := parse(t, `{"from.address":"ann@example.org"}`), parse(t, `{"from.address":{"exists":false}}`)
	whole := envelope(order)
	for n := range whole {
		match(f, whole[:n])
	}
	deep := strings.Repeat("[", 1<<20)
	for _, b := range []string{"", "null", "[]", "{", `{"data"`, `{"data":`, `{"data":{"from":`, `{"data":{"from":{"address":"ann`, `{"data":"x"}`, `{"data":` + deep, deep, `{"data":{"from":{"address":-}}}`} {
		require.False(t, match(f, []byte(b)), "%.40s", b)
		match(absent, []byte(b))
	}
}

func FuzzRead(f *testing.F) {
	f.Add(envelope(order))
	f.Add([]byte(`{"data":{"a":[1,{"b":"\u0061"}]}}`))
	filter := parse(f, `{"kind":"order","amount":{"gte":1},"from.address":{"prefix":"a"},"to.address":{"exists":true},"tags":{"in":["red",7]},"a.b":1}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		match(filter, b)
		require.Equal(t, before, string(b))
	})
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{2 << 10, 256 << 10} {
		for _, n := range []int{1, 100} {
			var filters []*datafilter.Filter
			for i := range n {
				filters = append(filters, parse(b, fmt.Sprintf(`{"from.address":{"prefix":"customer%d@"},"subject":{"in":["a","b"]},"size":{"gte":%d}}`, i, i)))
			}
			plan := datafilter.NewPlan(filters...)
			e := mailOf(size)
			b.Run(fmt.Sprintf("bytes=%d/filters=%d", size, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(e)))
				for b.Loop() {
					v := plan.Read(e)
					for _, f := range filters {
						f.Match(v)
					}
				}
			})
		}
	}
}

// BenchmarkWorst has as many values, comparisons and webhooks as there may be by default. None matches.
func BenchmarkWorst(b *testing.B) {
	texts := strings.Repeat(`"an address of a customer@example.org",`, 49)
	var filters []*datafilter.Filter
	for i := range 50 {
		filters = append(filters, parse(b, fmt.Sprintf(`{"to.address":{"in":[%s"an address of a customer@example.%d"]}}`, texts, i)))
	}
	plan := datafilter.NewPlan(filters...)
	e := envelope(`{"to":[` + strings.Repeat(`{"address":"an address of a customer@example.com"},`, 5000) + `{}]}`)
	b.ReportAllocs()
	for b.Loop() {
		v := plan.Read(e)
		for _, f := range filters {
			f.Match(v)
		}
	}
}

// mailOf returns an envelope of about so many bytes.
func mailOf(size int) []byte {
	text := strings.Repeat(`A line with a \"quotation\" in it.\r\n`, size/2/37)
	html := strings.Repeat(`<p class=\"x\">A line of HTML.</p>\n`, size/2/36)
	return envelope(`{"message_id":"msg_1","from":[{"name":"Ann","address":"ann@example.org"}],"to":[{"name":"","address":"a@example.com"}],` +
		`"subject":"Order","text":"` + text + `","html":"` + html + `","headers":[["From","Ann"],["To","a"]],"size":1234}`)
}
