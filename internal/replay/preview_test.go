package replay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAPreviewCountsWhatAReplayWouldSendAndStoresNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	tenant := events.NewRandom[events.TenantKind]()
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	hooks := subscribers.NewStore(pool, subscribers.Limits{})
	hook := func(enabled bool, types ...events.Type) events.WebhookID {
		w, _, err := hooks.Create(ctx, tenant, subscribers.Webhook{URL: "https://hooks.example.com/", Events: types, Enabled: enabled})
		require.NoError(t, err)
		return w.ID
	}
	all, sent, off := hook(true, subscribers.EveryType), hook(true, events.EmailSent), hook(false, subscribers.EveryType)
	// Of the events of an hour ago every fourth is email.sent. Events 1 to 10 are delivered
	// to the first webhook, 11 to 15 failed, 16 to 20 were replayed, 21 is still in the outbox.
	exec(`INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, date_trunc('milliseconds', now()) - interval '1 hour' + make_interval(secs => i), $1,
			CASE WHEN i % 4 = 0 THEN 'email.sent' ELSE 'email.received' END, i, '{}' FROM generate_series(1, 40) AS i`, tenant)
	exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, leased_until) SELECT tenant_id, seq, id, created_at, now() FROM fanmail.events WHERE seq = 21`)
	rows, err := pool.Query(ctx, `SELECT id, created_at, seq FROM fanmail.events WHERE seq <= 20`)
	require.NoError(t, err)
	type event struct {
		id  events.ID
		at  time.Time
		seq int
	}
	var list []event
	for rows.Next() {
		var e event
		require.NoError(t, rows.Scan(&e.id, &e.at, &e.seq))
		list = append(list, e)
	}
	require.NoError(t, rows.Err())
	for _, e := range list {
		d, at, status, kind := events.DeriveDeliveryID(e.id, all, events.ReplayID{}, e.at), e.at, "delivered", "live"
		switch {
		case e.seq > 15:
			d, at, kind = events.NewRandom[events.DeliveryKind](), time.Now(), "replay"
		case e.seq > 10:
			status = "failed"
		}
		exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, finished_at, expires_at, seq, max_attempts, event_type, status, kind)
			VALUES ($1, $2, $3, $4, $5, $6, now(), now(), $7, 8, 'email.received', $8, $9)`, d, at, all, tenant, e.id, e.at, e.seq, status, kind)
	}
	store := replay.NewStore(pool)
	preview := func(q replay.Request) (int, map[events.WebhookID]int) {
		t.Helper()
		p, err := store.Preview(ctx, tenant, q)
		require.NoError(t, err)
		require.True(t, p.Complete)
		by := map[events.WebhookID]int{}
		for _, w := range p.Webhooks {
			by[w.ID] = w.Deliveries
		}
		return p.Deliveries, by
	}
	since := time.Now().Add(-2 * time.Hour)
	n, by := preview(replay.Request{Since: since, Mode: replay.Missed})
	require.Equal(t, map[events.WebhookID]int{all: 24, sent: 10}, by, "without what was delivered, replayed or is on its way")
	require.Equal(t, 34, n)
	_, by = preview(replay.Request{Since: since, Mode: replay.All})
	require.Equal(t, map[events.WebhookID]int{all: 40, sent: 10}, by)
	_, by = preview(replay.Request{Since: since, Mode: replay.All, Types: []events.Type{events.EmailSent}, WebhookID: all})
	require.Equal(t, map[events.WebhookID]int{all: 10}, by)
	n, _ = preview(replay.Request{Since: since, Until: list[0].at.Add(-time.Hour / 2), Mode: replay.All})
	require.Zero(t, n)

	_, err = store.Preview(ctx, tenant, replay.Request{Since: since, WebhookID: off, Mode: replay.All})
	require.ErrorIs(t, err, subscribers.ErrDisabled)
	_, err = store.Preview(ctx, events.NewRandom[events.TenantKind](), replay.Request{Since: since, WebhookID: all, Mode: replay.All})
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	for field, q := range map[string]replay.Request{
		"since":     {Since: time.Now().Add(time.Hour), Mode: replay.All},
		"mode":      {Since: since},
		"agent_ids": {Since: since, Mode: replay.All, AgentIDs: []string{"a@example.com"}},
	} {
		_, err = store.Preview(ctx, tenant, q)
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault)
		require.Equal(t, field, fault.Field)
	}
	var stored int
	require.NoError(t, pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM fanmail.replays) + (SELECT count(*) FROM fanmail.replay_deliveries)`).Scan(&stored))
	require.Zero(t, stored)
}

func TestAPreviewReadsABoundedNumberOfEvents(t *testing.T) {
	t.Parallel()
	const batch = 500
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	for range 2 {
		_, _, err = subscribers.NewStore(pool, subscribers.Limits{}).Create(ctx, tenant, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true})
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now() - make_interval(secs => 3600 - i * 0.01), $1, 'email.received', i, '{}' FROM generate_series(1, $2::int) AS i`, tenant, 2*replay.PreviewEvents)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `ANALYZE`)
	require.NoError(t, err)
	r := pgplan.Open(t, url)
	p, err := replay.NewStore(r.Pool).Preview(ctx, tenant, replay.Request{Since: time.Now().Add(-2 * time.Hour), Mode: replay.Missed})
	require.NoError(t, err)
	require.False(t, p.Complete)
	require.Positive(t, p.Events)
	require.LessOrEqual(t, p.Events, replay.PreviewEvents)
	require.Equal(t, 2*p.Events, p.Deliveries)
	for _, s := range []struct {
		holding      string
		rows, blocks int
	}{
		{"ORDER BY created_at, id LIMIT", 2 * batch, 4 * batch}, {"event_id, n) ORDER BY n", 3 * batch, 60 * batch}, {"fanmail.outbox AS o", 2 * batch, 4 * batch},
	} {
		plan := r.Of(t, s.holding)
		require.Empty(t, plan.Scanned(), "%s", plan)
		require.LessOrEqual(t, plan.Rows(), s.rows, "%s", plan)
		require.LessOrEqual(t, plan.Blocks(), s.blocks, "%s", plan)
	}
}
