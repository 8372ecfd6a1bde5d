package schema_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// pythonTypes writes the types of the Python package. A field whose name is a keyword of Python and a field that may be
// absent stand in bases of their own: a class body can't have the one, and marks the other for a whole class.
func pythonTypes(t *testing.T, m model) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\"\"\"The data of each type of events that Fanmail knows.\"\"\"\n\nfrom __future__ import annotations\n\n"+
		"from typing import Any, Literal, Optional, TypedDict, overload\n\nfrom .event import Event\n", generatedBy)
	for _, r := range m.records {
		pythonRecord(&b, r)
	}
	for _, e := range m.types {
		data := e.record
		if data == "" {
			data = "dict[str, Any]"
		}
		fmt.Fprintf(&b, "\n\n@overload\ndef data_of(event: Event, type: Literal[\"%s\"]) -> Optional[%s]: ...", e.name, data)
	}
	b.WriteString("\n\n\n@overload\ndef data_of(event: Event, type: str) -> Optional[Any]: ...\n\n\n" +
		"def data_of(event: Event, type: str) -> Optional[Any]:\n" +
		"    \"\"\"Returns the data of an event if it has the type, else None.\n\n" +
		"    Programs may publish events of Fanmail's types with other data: check the fields of events that they publish.\n    \"\"\"\n" +
		"    return event.data if event.type == type else None\n")
	return b.Bytes()
}

// keywords are the names of fields that are keywords of Python.
var keywords = map[string]bool{"from": true}

func pythonRecord(b *bytes.Buffer, r record) {
	var bases []string
	var plain, absent []field
	for _, f := range r.fields {
		switch {
		case keywords[f.name]:
			base := fmt.Sprintf("_%sKeyword", r.name)
			fmt.Fprintf(b, "\n\n%s = TypedDict(\n    \"%s\",\n    {\n%s        \"%s\": \"%s\",\n    },\n)", base, base, wrapped(f.doc, "        # ", 100), f.name, pythonShape(f.shape))
			bases = append(bases, base)
		case f.optional:
			absent = append(absent, f)
		default:
			plain = append(plain, f)
		}
	}
	if len(absent) > 0 {
		base := fmt.Sprintf("_%sOptional", r.name)
		pythonClass(b, base, "TypedDict, total=False", "Fields that may be absent.", absent)
		bases = append(bases, base)
	}
	if len(bases) == 0 {
		bases = []string{"TypedDict"}
	}
	pythonClass(b, r.name, strings.Join(bases, ", "), r.doc, plain)
}

func pythonClass(b *bytes.Buffer, name, bases, doc string, fields []field) {
	lines := strings.Split(strings.TrimSuffix(wrapped(strings.ReplaceAll(doc, `"`, "'"), "    ", 105), "\n"), "\n")
	end := `"""`
	if len(lines) > 1 {
		end = "\n    \"\"\""
	}
	fmt.Fprintf(b, "\n\nclass %s(%s):\n    \"\"\"%s%s\n", name, bases, strings.TrimPrefix(strings.Join(lines, "\n"), "    "), end)
	for _, f := range fields {
		fmt.Fprintf(b, "\n%s    %s: %s\n", wrapped(f.doc, "    # ", 105), f.name, pythonShape(f.shape))
	}
}

func pythonShape(s shape) string {
	var written string
	switch s.kind {
	case "ref":
		written = s.ref
	case "list":
		written = "list[" + pythonShape(*s.item) + "]"
	default:
		written = map[string]string{
			"string": "str", "time": "str", "integer": "int", "number": "float", "boolean": "bool", "pair": "list[str]", "map": "dict[str, str]",
		}[s.kind]
	}
	if s.nullable {
		return "Optional[" + written + "]"
	}
	return written
}
