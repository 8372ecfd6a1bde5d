package schema_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	generator "github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

// model is what the schemas say of data, in a form that is written in any language.
type model struct {
	records []record    // sorted by name
	types   []eventType // in the catalogue's order
}

// eventType is a type of events. Record is "" if its data is any object.
type eventType struct{ name, record string }

// record is an object with named fields.
type record struct {
	name, doc string
	fields    []field
}

// field is a field of a record, by its name in JSON.
type field struct {
	name, doc string
	shape     shape
	optional  bool // it may be absent
}

// shape is the type of a value.
type shape struct {
	kind     string // string, time, integer, number, boolean, ref, list, pair, map; items of pairs and maps are strings
	ref      string // the record of a ref
	item     *shape // of a list
	nullable bool
}

// modelOf reads the schemas of all types.
func modelOf(t *testing.T) model {
	t.Helper()
	var m model
	known := map[string]record{}
	add := func(name, doc string, s *generator.Schema) {
		r := record{name: name, doc: doc}
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			r.fields = append(r.fields, field{
				name: p.Key, doc: p.Value.Description, shape: shapeOf(t, p.Value), optional: !slices.Contains(s.Required, p.Key),
			})
		}
		if before, ok := known[name]; ok {
			require.Equal(t, before, r, "two types have a record of that name")
			return
		}
		known[name] = r
		m.records = append(m.records, r)
	}
	for _, typ := range events.Catalogue() {
		var s generator.Schema
		require.NoError(t, json.Unmarshal(generate(t, typ), &s))
		for name, def := range s.Definitions {
			add(name, def.Description, def)
		}
		data, _ := s.Properties.Get("data")
		e := eventType{name: string(typ)}
		if data.Properties != nil {
			e.record = camel(string(typ))
			_, rest, _ := strings.Cut(data.Description, " ") // the first word is another name
			add(e.record, e.record+" "+rest, data)
		}
		m.types = append(m.types, e)
	}
	slices.SortFunc(m.records, func(a, b record) int { return strings.Compare(a.name, b.name) })
	return m
}

// shapeOf reads a schema. It fails if the schema says what no shape can.
func shapeOf(t *testing.T, s *generator.Schema) shape {
	t.Helper()
	switch {
	case len(s.AnyOf) == 2 && s.AnyOf[1].Type == "null":
		inner := shapeOf(t, s.AnyOf[0])
		inner.nullable = true
		return inner
	case s.Ref != "":
		return shape{kind: "ref", ref: strings.TrimPrefix(s.Ref, "#/$defs/")}
	case s.Type == "array" && s.MaxItems != nil && *s.MaxItems == 2:
		require.Equal(t, "string", s.Items.Type)
		return shape{kind: "pair"}
	case s.Type == "array":
		item := shapeOf(t, s.Items)
		return shape{kind: "list", item: &item}
	case s.Type == "object" && s.AdditionalProperties != nil:
		require.Equal(t, "string", s.AdditionalProperties.Type)
		return shape{kind: "map"}
	case s.Type == "string" && s.Format == "date-time":
		return shape{kind: "time"}
	}
	require.Contains(t, []string{"string", "integer", "number", "boolean"}, s.Type, "no shape fits the schema: %+v", s)
	return shape{kind: s.Type}
}

// initialisms are written in capitals in names.
var initialisms = map[string]string{
	"id": "ID", "ip": "IP", "url": "URL", "urls": "URLs", "html": "HTML", "spf": "SPF", "dkim": "DKIM", "dmarc": "DMARC", "arc": "ARC",
	"sha256": "SHA256", "mta": "MTA", "uid": "UID",
}

// camel makes a name such as EmailReceived of email.received, or RawURL of raw_url.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
		if upper, ok := initialisms[word]; ok {
			b.WriteString(upper)
			continue
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// wrapped breaks a description into lines of at most width bytes, each after the prefix.
func wrapped(doc, prefix string, width int) string {
	var b, line strings.Builder
	flush := func() {
		if line.Len() > 0 {
			b.WriteString(prefix + line.String() + "\n")
			line.Reset()
		}
	}
	for word := range strings.FieldsSeq(doc) {
		if line.Len() > 0 && line.Len()+1+len(word) > width {
			flush()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	flush()
	return b.String()
}
