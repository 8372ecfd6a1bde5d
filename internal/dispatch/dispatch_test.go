package dispatch_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestEventsReachMatchingWebhooksOnceSignedAndRecorded(t *testing.T) {
	t.Parallel()
	for name, fed := range map[string]bool{"in the same process": true, "through the broker": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reachOnce(t, fed)
		})
	}
}

func reachOnce(t *testing.T, fed bool) {
	r := newRig(t)
	r.webhook("/all")
	r.webhook("/vip", func(w *subscribers.Webhook) { w.Filters.Labels = []string{"vip"} })
	r.webhook("/sent", func(w *subscribers.Webhook) { w.Events = []events.Type{events.EmailSent} })
	r.webhook("/off", func(w *subscribers.Webhook) { w.Enabled = false })
	r.relay()
	r.replica(fed)
	const n = 1500
	ids := r.insert(n, func(i int, ev *events.Event) {
		if i%3 == 0 {
			ev.Labels = []string{"other", "vip"}
		}
	})
	require.NoError(t, r.sink.WaitFor(r.ctx(), n+n/3))
	r.settles(map[string]int{"delivered": n + n/3})
	require.Equal(t, n, r.sink.CountTo("/all"))
	require.Equal(t, n/3, r.sink.CountTo("/vip"))
	seen := map[string]int{}
	for _, p := range r.sink.PostsTo("/all") {
		require.NoError(t, p.VerifyErr)
		seen[p.EventID]++
	}
	for _, id := range ids {
		require.Equal(t, 1, seen[id.String()])
	}
	var outboxRows, envelopeDiffers int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.outbox`).Scan(&outboxRows))
	require.Zero(t, outboxRows)
	for _, p := range r.sink.PostsTo("/vip")[:10] {
		id, err := events.ParseID(p.EventID)
		require.NoError(t, err)
		var envelope []byte
		require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT envelope FROM fanmail.events WHERE id = $1`, id).Scan(&envelope))
		if string(envelope) != string(p.Body) {
			envelopeDiffers++
		}
	}
	require.Zero(t, envelopeDiffers, "the POSTed bytes are the stored ones")
}
