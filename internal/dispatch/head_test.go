package dispatch

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestTheHeadOfAnEnvelopeIsReadOncePerBatch(t *testing.T) {
	t.Parallel()
	known := []byte(`{"type":"email.received","id":"1","created_at":"2","schema_version":"` + events.SchemaVersion + `","data":{}}`)
	newer := []byte(`{"type":"email.later","id":"1","created_at":"2","schema_version":"2099-01-01","data":{}}`)
	var r headReader
	first := r.read(newer)
	require.Same(t, first, r.read(newer), "the deliveries of an event share one head")
	h := http.Header{}
	first.set(h)
	require.Equal(t, http.Header{HeaderEventType: {"email.later"}, HeaderSchemaVersion: {"2099-01-01"}}, h)

	h = http.Header{}
	r.read(known).set(h)
	require.Equal(t, http.Header{HeaderEventType: {"email.received"}, HeaderSchemaVersion: {events.SchemaVersion}}, h)
	for _, none := range [][]byte{nil, []byte(`{"subject":"hello"}`)} {
		h = http.Header{}
		r.read(none).set(h)
		require.Empty(t, h)
	}
	require.Same(t, r.read(known), r.read(slices.Clone(known)), "all events of a type share one head")
}
