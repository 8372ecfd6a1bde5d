package subscribers_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
)

func TestTheListOfAllDeliveriesMergesTheWebhooks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	_, err := h.Pool.Exec(ctx, `UPDATE fanmail.webhooks SET deleted_at = now() WHERE tenant_id = $1 AND id <> $2`, h.tenant, h.hook)
	require.NoError(t, err)
	// Rows of one transaction have one time: a page may end between them.
	_, err = h.Pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, finished_at, expires_at, seq, attempts, max_attempts, event_type, status)
		SELECT gen_random_uuid(), now(), w.id, w.tenant_id, gen_random_uuid(), now(), now(), now(), i, 1, 8, 'email.sent', 'failed'
		FROM fanmail.webhooks AS w, generate_series(1, 150) AS i WHERE tenant_id = $1`, h.tenant)
	require.NoError(t, err)
	for _, f := range []subscribers.DeliveryFilter{{Status: "failed"}, {EventType: "email.sent"}, {}} {
		var found []events.DeliveryID
		var after subscribers.Place
		for page := 0; f.Status+string(f.EventType) != "" || page < 30; page++ {
			h.Reset()
			got, end, err := h.store.ListAllDeliveries(ctx, h.tenant, f, after, 50)
			require.NoError(t, err)
			h.Of(t, "AS MATERIALIZED").Within(t, pgplan.Bound{
				Indexes: []string{"webhook_subscriber_deliveries_history"}, Rows: subscribers.ListScan + 200, Sorted: 3 * subscribers.ListScan, Blocks: 3 * subscribers.ListScan,
			})
			h.Of(t, "UNION ALL\n(SELECT id FROM").Within(t, pgplan.Bound{Indexes: []string{"webhooks_deleted", "webhooks_tenant"}, Rows: 10, Sorted: 10, Blocks: 20})
			for _, d := range got {
				found = append(found, d.ID)
			}
			if f == (subscribers.DeliveryFilter{}) {
				require.Len(t, got, 50, "without a filter the pages are full")
			}
			if len(got) == 50 {
				end = subscribers.Place{CreatedAt: got[49].CreatedAt, ID: got[49].ID}
			}
			if end.CreatedAt.IsZero() {
				break
			}
			after = end
		}
		var want []events.DeliveryID
		rows, err := h.Pool.Query(ctx, `SELECT id FROM fanmail.webhook_subscriber_deliveries
			WHERE ($1 = '' OR status = $1) AND ($2 = '' OR event_type = $2) ORDER BY created_at DESC, id DESC`, f.Status, string(f.EventType))
		require.NoError(t, err)
		for rows.Next() {
			var id events.DeliveryID
			require.NoError(t, rows.Scan(&id))
			want = append(want, id)
		}
		require.NoError(t, rows.Err())
		require.NotEmpty(t, found)
		if f == (subscribers.DeliveryFilter{}) {
			want = want[:len(found)]
		}
		require.Equal(t, want, found, "%+v", f)
	}
	none, end, err := h.store.ListAllDeliveries(ctx, events.NewRandom[events.TenantKind](), subscribers.DeliveryFilter{}, subscribers.Place{}, 50)
	require.NoError(t, err)
	require.Empty(t, none)
	require.Zero(t, end)
	_, _, err = h.store.ListAllDeliveries(ctx, h.tenant, subscribers.DeliveryFilter{Status: "lost"}, subscribers.Place{}, 50)
	var wrong *events.FieldError
	require.ErrorAs(t, err, &wrong)
}
