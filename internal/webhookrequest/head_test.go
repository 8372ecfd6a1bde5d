package webhookrequest

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
	var r HeadReader
	first := r.Read(newer)
	require.Same(t, first, r.Read(newer), "the deliveries of an event share one head")
	h := http.Header{}
	first.set(h)
	require.Equal(t, http.Header{HeaderEventType: {"email.later"}, HeaderSchemaVersion: {"2099-01-01"}}, h)

	h = http.Header{}
	r.Read(known).set(h)
	require.Equal(t, http.Header{HeaderEventType: {"email.received"}, HeaderSchemaVersion: {events.SchemaVersion}}, h)
	for _, none := range [][]byte{nil, []byte(`{"subject":"hello"}`)} {
		h = http.Header{}
		r.Read(none).set(h)
		require.Empty(t, h)
	}
	require.Same(t, r.Read(known), r.Read(slices.Clone(known)), "all events of a type share one head")
}
