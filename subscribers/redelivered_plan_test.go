package subscribers_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// redeliveries is how many deliveries an event has besides those of its fan-out.
const redeliveries = 120_000

// redelivered is an event that was fanned out to two webhooks of eight, of which one is deleted, and then redelivered
// very often: to these two, to one where all failed, and to one that received it.
type redelivered struct {
	*pgplan.Recorder
	tenant                                 events.TenantID
	event                                  events.Record
	live, deleted, failing, received, none events.WebhookID
}

func newRedelivered(t *testing.T) *redelivered {
	t.Helper()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	r := &redelivered{tenant: events.NewRandom[events.TenantKind]()}
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, r.tenant)
	for i, id := range []*events.WebhookID{&r.live, &r.deleted, &r.failing, &r.received, &r.none, {}, {}, {}} {
		*id = events.NewRandom[events.WebhookKind]()
		exec(`INSERT INTO fanmail.webhooks (id, tenant_id, kind, url, events, signing_secret, deleted_at) VALUES ($1, $2, 'pull', '', '{email.sent}', '', CASE WHEN $3 THEN now() END)`, *id, r.tenant, i == 1)
	}
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		r.event, err = outbox.Log(ctx, tx, &events.Event{TenantID: r.tenant, Type: events.EmailSent, Data: []byte(`{}`)})
		return err
	}))
	exec(`DELETE FROM fanmail.outbox`)
	of := []events.WebhookID{r.live, r.deleted}
	var ids []events.DeliveryID
	for _, w := range of {
		ids = append(ids, events.DeriveDeliveryID(r.event.ID, w, events.ReplayID{}, r.event.CreatedAt))
	}
	insert := `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, finished_at, expires_at, seq, attempts, max_attempts, event_type, status, kind)`
	exec(insert+` SELECT id, $3, hook, $4, $5, $3, now(), now() + interval '30 days', 1, 1, 8, 'email.sent', 'failed', 'live' FROM unnest($1::uuid[], $2::uuid[]) AS n (id, hook)`,
		ids, of, r.event.CreatedAt, r.tenant, r.event.ID)
	exec(insert+` SELECT gen_random_uuid(), $3::timestamptz + make_interval(secs => i), hooks[1 + i % 4], $4, $5, $3, now(), now() + interval '30 days', 1, 1, 8, 'email.sent',
			CASE WHEN i % 4 = 3 THEN 'delivered' ELSE 'failed' END, 'replay'
		FROM generate_series(1, $1::int) AS i, LATERAL (SELECT $2::uuid[] AS hooks) AS h`,
		redeliveries, []events.WebhookID{r.live, r.deleted, r.failing, r.received}, r.event.CreatedAt, r.tenant, r.event.ID)
	r.Recorder = pgplan.Open(t, url)
	return r
}

// TestRedeliveriesOfAnEventAreNotAllRead reads an event's deliveries and finds its webhooks, beside any number of
// redeliveries.
func TestRedeliveriesOfAnEventAreNotAllRead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const (
		limit   = 1001
		byOrder = "webhook_subscriber_deliveries_not_live"
		byHook  = "webhook_subscriber_deliveries_redelivered"
		history = "webhook_subscriber_deliveries_history"
	)
	r := newRedelivered(t)
	s := subscribers.NewStore(r.Pool, subscribers.Limits{})
	show := func(name string, p pgplan.Plan) pgplan.Plan {
		t.Logf("%s: %d rows read, %d sorted, %d blocks, by %v", name, p.Rows(), p.Sorted(), p.Blocks(), p.Indexes())
		return p
	}
	for _, statistics := range []bool{false, true} {
		if statistics {
			_, err := r.Pool.Exec(ctx, `ANALYZE fanmail.webhook_subscriber_deliveries`)
			require.NoError(t, err)
		}
		r.Reset()
		list, err := s.EventDeliveries(ctx, r.tenant, r.event.ID, r.event.CreatedAt, limit)
		require.NoError(t, err)
		require.Len(t, list, limit)
		for i := range list[1:] {
			require.True(t, list[i].CreatedAt.After(list[i+1].CreatedAt), "newest first")
		}
		show("deliveries", r.Of(t, "LIMIT $6")).Within(t, pgplan.Bound{Indexes: []string{byKey, byOrder}, Rows: limit + 10, Sorted: limit + 10, Blocks: 3 * limit})

		replayed := make([]subscribers.Replayed, 0, 3)
		for _, w := range []events.WebhookID{r.failing, r.received, r.none} {
			replayed = append(replayed, subscribers.Replayed{EventID: r.event.ID, EventCreatedAt: r.event.CreatedAt, EventType: r.event.Type, Seq: 1, WebhookID: w})
		}
		reached, err := subscribers.Reached(ctx, r.Pool, r.tenant, replayed)
		require.NoError(t, err)
		require.Equal(t, []bool{false, true, false}, reached)
		p := show("reached", r.Of(t, "live_id, event_created_at, webhook_id, event_id, n)"))
		require.Empty(t, p.Scanned(), "%s", p)
		require.Contains(t, p.Indexes(), byHook, "%s", p) // a live delivery is found by either of two indexes
		require.LessOrEqual(t, p.Rows(), 20, "%s", p)
		require.LessOrEqual(t, p.Blocks(), 500, "%s", p)

		to := map[events.WebhookID]bool{}
		require.ErrorIs(t, pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
			_, made, err := s.In(tx).Redeliver(ctx, r.tenant, r.event.ID, events.WebhookID{})
			require.NoError(t, err)
			for _, d := range made {
				to[d.WebhookID] = true
			}
			return context.Canceled // the next round finds the same
		}), context.Canceled)
		require.Equal(t, map[events.WebhookID]bool{r.live: true, r.failing: true, r.received: true}, to)
		show("webhooks", r.Of(t, "ORDER BY w.id")).Within(t, pgplan.Bound{Indexes: []string{byHook, history, "webhooks_tenant"}, Rows: 50, Sorted: 10, Blocks: 500})
	}
}
