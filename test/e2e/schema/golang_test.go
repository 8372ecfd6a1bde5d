package schema_test

import (
	"bytes"
	"fmt"
	"go/format"
	"testing"

	"github.com/stretchr/testify/require"
)

// goTypes writes the types of package receiver.
func goTypes(t *testing.T, m model) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "// %s\n\npackage receiver\n\nimport \"time\"\n\n// The types of events that Fanmail knows.\nconst (\n", generatedBy)
	for _, e := range m.types {
		fmt.Fprintf(&b, "Type%s = %q\n", camel(e.name), e.name)
	}
	b.WriteString(")\n\n// dataOf returns a new value of the struct for the data of a type, or nil if it has none.\nfunc dataOf(eventType string) any {\nswitch eventType {\n")
	for _, e := range m.types {
		if e.record != "" {
			fmt.Fprintf(&b, "case Type%s:\nreturn new(%s)\n", camel(e.name), e.record)
		}
	}
	b.WriteString("}\nreturn nil\n}\n")
	for _, r := range m.records {
		fmt.Fprintf(&b, "\n%stype %s struct {\n", wrapped(r.doc, "// ", 100), r.name)
		for _, f := range r.fields {
			omit := ""
			if f.optional {
				omit = ",omitempty"
			}
			fmt.Fprintf(&b, "%s%s %s `json:\"%s%s\"`\n", wrapped(f.doc, "// ", 100), camel(f.name), goShape(f.shape), f.name, omit)
		}
		b.WriteString("}\n")
	}
	out, err := format.Source(b.Bytes())
	require.NoError(t, err, "%s", b.String())
	return out
}

func goShape(s shape) string {
	pointer := ""
	if s.nullable {
		pointer = "*"
	}
	switch s.kind {
	case "ref":
		return pointer + s.ref
	case "list":
		return "[]" + goShape(*s.item)
	}
	return pointer + map[string]string{
		"string": "string", "time": "time.Time", "integer": "int64", "number": "float64", "boolean": "bool", "pair": "[2]string", "map": "map[string]string",
	}[s.kind]
}
