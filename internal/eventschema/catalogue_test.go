package eventschema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
)

//go:generate go test -run TestTheCatalogueIsDocumented . -update

var update = flag.Bool("update", false, "write docs/reference/catalogue.md")

const cataloguePage = "../../docs/reference/catalogue.md"

// TestTheCatalogueIsDocumented: below its first heading the page has every built-in type with its sample, in the envelope
// that a webhook gets.
func TestTheCatalogueIsDocumented(t *testing.T) {
	t.Parallel()
	var table, sections strings.Builder
	table.WriteString("| type | means | inserted by | `data` |\n|---|---|---|---|\n")
	for _, name := range events.Catalogue() {
		typ, err := eventschema.ReadBuiltIn(name)
		require.NoError(t, err)
		require.NotEmpty(t, typ.Description, name)
		by, data := origin(t, name, typ.Schema)
		anchor := strings.NewReplacer(".", "").Replace(string(name))
		fmt.Fprintf(&table, "| [`%s`](#%s) | %s | %s | %s |\n", name, anchor, typ.Description, by, data)
		fmt.Fprintf(&sections, "\n## %s\n%s\n[Schema](../../events/schema/%s.json).\n\n```json\n%s\n```\n", name, typ.Description, name, envelope(t, name, typ.Sample))
	}
	text, err := os.ReadFile(cataloguePage)
	require.NoError(t, err)
	head, _, found := bytes.Cut(text, []byte("| type |"))
	require.True(t, found)
	want := string(head) + table.String() + sections.String()
	if *update {
		require.NoError(t, os.WriteFile(cataloguePage, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(text), "write it with: go generate ./internal/eventschema")
}

// origin says who inserts events of a type, and where the page's reader finds the fields of their data. A schema without
// fields is that of a type whose data producers choose.
func origin(t *testing.T, name events.Type, schema json.RawMessage) (by, data string) {
	t.Helper()
	var s struct{ Properties map[string]any }
	require.NoError(t, json.Unmarshal(schema, &s))
	switch {
	case name.Operational():
		return "Fanmail alone", "[its fields](events.md#operational-events)"
	case name == events.EmailReceived:
		return "ingest", "[its fields](mail-events.md), and a [mail that has all of them](mail-events.md#emailreceived)"
	case len(s.Properties) > 0:
		return "ingest, producers", "[its fields](mail-events.md#bounces-and-complaints) from ingest; a producer's choice"
	}
	return "producers", "the producer's choice"
}

// envelope is an event with the data as a webhook gets it, indented.
func envelope(t *testing.T, name events.Type, data json.RawMessage) string {
	t.Helper()
	id, err := events.ParseID("evt_0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	ev := events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: name, Data: data}
	head, tail, err := ev.Encode(id)
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, append(append(head, at.Format(events.TimeLayout)...), tail...), "", "  "))
	return out.String()
}
