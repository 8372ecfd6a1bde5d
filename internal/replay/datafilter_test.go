package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestAReplayMatchesDataAsTheFanOutDoes sends events of random data to webhooks with filters on data. Then webhooks with
// the same filters are made, and replays send them what they missed: from the stream, and from the table.
func TestAReplayMatchesDataAsTheFanOutDoes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	text := strings.Repeat(`a line with a "quotation"`+"\n", 2000)
	filters := []string{
		`{"amount": {"gte": 5}}`, `{"amount": {"lt": 9007199254740993}, "kind": "order"}`, `{"to.address": {"prefix": "a"}}`, `{"kind": {"in": ["order", "refund"]}, "to": {"exists": true}}`,
		`{"note": {"exists": false}}`, `{"amount": 9007199254740993}`, `{"nowhere": 1}`,
	}
	want := func(data map[string]any, filter int) bool { // amounts are whole numbers
		amount, kind, to := data["amount"].(int64), data["kind"], data["to"].([]map[string]any)
		switch filter {
		case 0:
			return amount >= 5
		case 1:
			return amount < 9007199254740993 && kind == "order"
		case 2:
			for _, each := range to {
				if strings.HasPrefix(each["address"].(string), "a") {
					return true
				}
			}
			return false
		case 3:
			return kind != "other" && len(to) > 0
		case 4:
			return data["note"] == nil
		case 5:
			return amount == 9007199254740993
		}
		return false
	}
	on := func(filter string) func(*subscribers.Webhook) {
		return func(w *subscribers.Webhook) { w.Filters.Data = json.RawMessage(filter) }
	}
	live := make([]events.WebhookID, len(filters))
	for i, f := range filters {
		live[i] = r.webhook(fmt.Sprintf("/live/%d", i), on(f))
	}
	require.NoError(t, r.registry.Load(ctx))
	expected := make([][]events.ID, len(filters))
	var made []map[string]any
	ids := r.insert(300, func(i int, e *events.Event) {
		data := map[string]any{
			"amount": []int64{1, 5, 9, 9007199254740992, 9007199254740993}[random.IntN(5)], "kind": []string{"order", "refund", "other"}[random.IntN(3)],
			"note": []any{nil, "x", text}[random.IntN(3)], "text": text[:random.IntN(len(text))],
		}
		to := []map[string]any{}
		for range random.IntN(3) {
			to = append(to, map[string]any{"address": []string{"ann@example.org", "ben@example.org"}[random.IntN(2)]})
		}
		data["to"] = to
		e.Data, _ = json.Marshal(data)
		made = append(made, data)
	})
	for i, id := range ids {
		for f := range filters {
			if want(made[i], f) {
				expected[f] = append(expected[f], id)
			}
		}
	}
	// Another tenant has the same filter; each has its own events.
	other := events.NewRandom[events.TenantKind]()
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'other')`, other)
	theirs, secret, err := r.hooks.Create(ctx, other, subscribers.Webhook{URL: r.sink.URL("/theirs"), Events: []events.Type{events.EmailReceived}, Enabled: true, Filters: subscribers.Filters{Data: json.RawMessage(filters[0])}})
	require.NoError(t, err)
	r.sink.Secret("/theirs", secret)
	var foreign events.ID
	require.NoError(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		foreign, err = outbox.Insert(ctx, tx, events.Event{TenantID: other, Type: events.EmailReceived, Data: json.RawMessage(`{"amount":7}`)})
		return err
	}))
	outbox.Wake(r.nc)
	require.NoError(t, r.sink.WaitForPath(ctx, "/theirs", 1))
	for f := range filters {
		require.NoError(t, r.sink.WaitForPath(ctx, fmt.Sprintf("/live/%d", f), len(expected[f])))
		require.ElementsMatch(t, expected[f], r.arrived(fmt.Sprintf("/live/%d", f)), filters[f])
		require.Equal(t, len(expected[f]), r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, live[f]), "no other event was fanned out")
	}

	r.runner(replay.Options{Skew: skew})
	for _, source := range []string{"jetstream", "postgres"} {
		if source == "postgres" {
			require.NoError(t, r.js.DeleteStream(ctx, stream.Events))
		}
		for f, filter := range filters {
			path := fmt.Sprintf("/%s/%d", source, f)
			w := r.webhook(path, on(filter))
			preview, err := r.replays.Preview(ctx, r.tenant, replay.Request{Since: time.Now().Add(-time.Hour), WebhookID: w, Mode: replay.Missed})
			require.NoError(t, err)
			require.Equal(t, len(expected[f]), preview.Deliveries, filter)
			n := int64(len(expected[f]))
			got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
			if source == "postgres" || got.Source != "both" { // a busy broker took a part only
				require.Equal(t, source, got.Source)
			}
			require.Equal(t, [4]int64{n, n, n, 0}, progress(got), filter)
			require.ElementsMatch(t, expected[f], r.arrived(path), "%s from %s", filter, source)
		}
	}
	// A replay for all webhooks finds nothing that one of them has missed.
	all := r.waitFor(r.create(replay.Request{}).ID, replay.Completed)
	require.Zero(t, all.Enqueued)
	require.Equal(t, []events.ID{foreign}, r.arrived("/theirs"))
	require.Equal(t, 1, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, theirs.ID))
}
