package erasure_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestAnErasureReadsWhatItRemoves has many events, deliveries and mails of the tenant and of others beside those of a batch.
func TestAnErasureReadsWhatItRemoves(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	rec := pgplan.Open(t, url)
	r := &rig{t: t, pool: pgtest.Open(t, url)}
	tenant := r.tenant()
	for _, of := range []any{tenant, r.tenant()} {
		r.exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) SELECT gen_random_uuid(), $1, 'https://example.com', '{*}', '' FROM generate_series(1, 3)`, of)
		r.exec(`INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, message_id, envelope)
			SELECT gen_random_uuid(), now() - i * interval '1 ms', $1, 'email.sent', nextval('fanmail.outbox_seq'), 'm' || i, convert_to(CASE WHEN i % 500 = 0 THEN '{"data":{"from":"ann@shop.example"}}' ELSE '{"data":{"from":"carl@other.example"}}' END, 'UTF8')
			FROM generate_series(1, 5000) AS i`, of)
		r.exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) SELECT tenant_id, seq, id, created_at FROM fanmail.events WHERE tenant_id = $1`, of)
		r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, max_attempts, status, event_type)
			SELECT gen_random_uuid(), e.created_at, w.id, $1, e.id, e.created_at, now(), e.seq, 8, 'failed', 'email.sent' FROM fanmail.events AS e, fanmail.webhooks AS w WHERE e.tenant_id = $1 AND w.tenant_id = $1`, of)
		r.exec(`INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason)
			SELECT id, created_at, 1, now(), 1, 500, 'x' FROM fanmail.webhook_subscriber_deliveries WHERE tenant_id = $1`, of)
		r.exec(`INSERT INTO fanmail.erasures (id, tenant_id, kind, requested_by, phase, finished_at) SELECT gen_random_uuid(), $1, 'address', 'key', 'completed', now() FROM generate_series(1, 2000)`, of)
	}
	r.exec(`ANALYZE`)
	e := r.ofAddress(tenant, ann)
	require.NoError(t, erasure.New(rec.Pool, erasure.Options{Rows: true}).Round(ctx))
	now, err := erasure.Get(ctx, r.pool, tenant, e.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"events": 10, "outbox": 10, "deliveries": 30, "attempts": 30}, now.Removed)
	for text, rows := range map[string]int{
		"FOR UPDATE SKIP LOCKED":                        10,
		"FOR UPDATE) AS o":                              100,
		"DELETE FROM fanmail.outbox":                    100,
		"DELETE FROM fanmail.events":                    100,
		"WITH found AS":                                 600,
		"DELETE FROM fanmail.webhook_delivery_attempts": 300,
	} {
		p := rec.Of(t, text)
		p.Within(t, pgplan.Bound{Indexes: p.Indexes(), Rows: rows, Sorted: 200, Blocks: 4000})
	}
}

// TestKeysOfErasedEventsAreLookedUp has a bucket full of others' keys, which are of 30 days and of all tenants.
func TestKeysOfErasedEventsAreLookedUp(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	rec := pgplan.Open(t, url)
	r := &rig{t: t, pool: pgtest.Open(t, url)}
	r.exec(`INSERT INTO fanmail.event_keys (bucket, event_id) SELECT fanmail.bucket(now()), gen_random_uuid() FROM generate_series(1, 50000)`)
	r.exec(`ANALYZE fanmail.event_keys`)
	var ids []events.ID
	var created []time.Time
	for range 100 {
		ids, created = append(ids, events.NewRandom[events.EventKind]()), append(created, time.Now())
	}
	r.exec(`INSERT INTO fanmail.event_keys (bucket, event_id) SELECT fanmail.bucket(now()), id FROM unnest($1::uuid[]) AS id`, ids)
	n, err := outbox.EraseKeys(t.Context(), rec.Pool, ids, created)
	require.NoError(t, err)
	require.EqualValues(t, 100, n)
	p := rec.Of(t, "DELETE FROM fanmail.event_keys")
	p.Within(t, pgplan.Bound{Indexes: p.Indexes(), Rows: 300, Sorted: 300, Blocks: 4000})
}
