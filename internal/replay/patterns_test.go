package replay_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestAReplayByPatternsSendsWhatTheySelect replays from the stream, and from the table once the stream is empty.
func TestAReplayByPatternsSendsWhatTheySelect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO fanmail.event_types (tenant_id, name) SELECT $1, unnest(ARRAY['order.created', 'order.line.added', 'ticket.opened'])`, r.tenant)
	r.runner(replay.Options{})
	types := []events.Type{"order.created", "order.line.added", "ticket.opened", events.EmailSent}
	ids := r.insert(40, func(i int, e *events.Event) { e.Type, e.Data = types[i%4], json.RawMessage(`{"n":1}`) })
	w := r.webhook("/late", func(w *subscribers.Webhook) { w.Events = []events.Type{"order.*", "ticket.*"} })
	of := func(numbers ...int) (want []events.ID) {
		for i, id := range ids {
			for _, n := range numbers {
				if i%4 == n {
					want = append(want, id)
				}
			}
		}
		return want
	}
	got := r.waitFor(r.create(replay.Request{WebhookID: w, Types: []events.Type{"order.line.*"}}).ID, replay.Completed)
	require.Equal(t, [4]int64{10, 10, 10, 0}, progress(got), "one pattern is a filter of the stream")
	require.Equal(t, "jetstream", got.Source)
	require.ElementsMatch(t, of(1), r.arrived("/late"))
	got = r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, [4]int64{30, 20, 20, 0}, progress(got), "missed: what the webhook's patterns select and it has not had")
	require.ElementsMatch(t, of(0, 1, 2), r.arrived("/late"))

	r.purge(40)
	got = r.waitFor(r.create(replay.Request{WebhookID: w, Mode: replay.All, Types: []events.Type{"order.*", "ticket.opened", "email.*"}}).ID, replay.Completed)
	require.Equal(t, [4]int64{30, 30, 30, 0}, progress(got))
	require.Equal(t, "postgres", got.Source)
	require.Len(t, r.arrived("/late"), 60)
}
