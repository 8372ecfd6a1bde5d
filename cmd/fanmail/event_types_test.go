package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnOwnTypeFromItsCreationToItsEvent follows the page about own types.
func TestAnOwnTypeFromItsCreationToItsEvent(t *testing.T) {
	t.Parallel()
	dir := up(t)
	fails := func(args ...string) string {
		t.Helper()
		out, code := fanmail(t, dir, "", args...)
		require.Equal(t, 1, code, "%v: %s", args, out)
		return out
	}
	file := filepath.Join(t.TempDir(), "order.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"type": "object", "required": ["id"]}`+"\n"), 0o600))
	must(t, dir, "", "event-types", "create", "order.created", "--description", "An order.", "--schema", "@"+file, "--sample", `{"id": "o-1"}`)
	must(t, dir, "", "event-types", "create", "order.paid", "--for-all")
	require.Contains(t, must(t, dir, "", "event-types", "get", "order.created"), "\nschema\n  type      object\n  required  id\n")
	require.Len(t, listing(t, dir, "event-types", "list", "--source", "tenant"), 1)
	require.Len(t, listing(t, dir, "event-types", "list", "--source", "operator", "--for-all"), 1)

	out, stop := background(t, dir, "listen", "--events", "order.*")
	out.shows(t, "listening on")
	must(t, dir, "", "events", "create", "order.created", "--data", `{"id": "o-17"}`)
	out.shows(t, "order.created")
	require.Zero(t, stop())
	refused := fails("events", "create", "order.created", "--data", `{}`)
	require.Contains(t, refused, `does not fit the schema of order.created: at /: lacks "id"`)

	refused = fails("event-types", "update", "order.created", "--schema", `{}`, "--clear", "schema")
	require.Contains(t, refused, "both set and cleared")
	must(t, dir, "", "event-types", "update", "order.created", "--deprecated", "--clear", "schema")
	must(t, dir, "", "event-types", "delete", "order.created")
	must(t, dir, "", "event-types", "delete", "order.paid", "--for-all")
	refused = fails("event-types", "delete", "email.sent")
	require.Contains(t, refused, "built in")
}
