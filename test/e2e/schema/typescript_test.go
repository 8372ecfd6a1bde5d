package schema_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// typescriptTypes writes the types of the npm package.
func typescriptTypes(t *testing.T, m model) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "// %s\n\n/** The data of each type of events that Fanmail knows. */\nexport interface DataOf {\n", generatedBy)
	for _, e := range m.types {
		data := e.record
		if data == "" {
			data = "Record<string, unknown>"
		}
		fmt.Fprintf(&b, "  '%s': %s\n", e.name, data)
	}
	b.WriteString("}\n\n/** The types of events that Fanmail knows. */\nexport type EventType = keyof DataOf\n")
	for _, r := range m.records {
		fmt.Fprintf(&b, "\n%sexport interface %s {\n", typescriptDoc(r.doc, ""), r.name)
		for _, f := range r.fields {
			mark := ""
			if f.optional {
				mark = "?"
			}
			fmt.Fprintf(&b, "%s  %s%s: %s\n", typescriptDoc(f.doc, "  "), f.name, mark, typescriptShape(f.shape))
		}
		b.WriteString("}\n")
	}
	return b.Bytes()
}

// typescriptDoc writes a description as a comment.
func typescriptDoc(doc, indent string) string {
	doc = strings.ReplaceAll(doc, "*/", "*\u200b/")
	if lines := wrapped(doc, "", 110); strings.Count(lines, "\n") == 1 {
		return indent + "/** " + strings.TrimSuffix(lines, "\n") + " */\n"
	}
	return indent + "/**\n" + wrapped(doc, indent+" * ", 110) + indent + " */\n"
}

func typescriptShape(s shape) string {
	var written string
	switch s.kind {
	case "ref":
		written = s.ref
	case "list":
		written = typescriptShape(*s.item) + "[]"
	default:
		written = map[string]string{
			"string": "string", "time": "string", "integer": "number", "number": "number", "boolean": "boolean",
			"pair": "[string, string]", "map": "Record<string, string>",
		}[s.kind]
	}
	if s.nullable {
		return written + " | null"
	}
	return written
}
