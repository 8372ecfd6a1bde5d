package subscribers_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// rulesOf are the rules of the tables whose rows tenants may keep for a shorter time.
func rulesOf(p retention.Policy) []retention.Rule {
	return slices.Concat(subscribers.RetentionRules(p), mailbox.RetentionRules(p), outbox.RetentionRules(p))
}

var shorter = retention.Policy{Tenants: tenancy.Shorter}

// keeper is a tenant with a webhook and n rows of each kind for each age.
type keeper struct {
	t      *testing.T
	pool   *pgxpool.Pool
	tenant events.TenantID
	hook   events.WebhookID
	seq    int64
}

func newKeeper(t *testing.T, pool *pgxpool.Pool, q tenancy.Quota) *keeper {
	t.Helper()
	k := &keeper{t: t, pool: pool, tenant: events.NewRandom[events.TenantKind](), hook: events.NewRandom[events.WebhookKind](), seq: 1}
	k.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, k.tenant)
	k.exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES ($1, $2, 'https://hooks.example.com/', '{email.received}', '')`, k.hook, k.tenant)
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, k.tenant, q))
	return k
}

func (k *keeper) exec(sql string, args ...any) {
	k.t.Helper()
	_, err := k.pool.Exec(k.t.Context(), sql, args...)
	require.NoError(k.t, err)
}

// rows inserts n events of an age, each with a delivery in the state, an attempt and a mail.
func (k *keeper) rows(n int, days float64, status string) {
	k.t.Helper()
	k.exec(`WITH e AS (
		INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now() - make_interval(secs => 86400 * $2::float8 + i * 0.001), $1, 'email.received', $3 + i, '{}' FROM generate_series(1, $4::int) AS i
		RETURNING id, created_at, tenant_id, seq
	), d AS (
		INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, finished_at, expires_at, seq, max_attempts, event_type, status)
		SELECT gen_random_uuid(), created_at, $5, tenant_id, id, created_at, CASE WHEN $6 = 'pending' THEN now() END, CASE WHEN $6 <> 'pending' THEN now() END,
			created_at + interval '30 days', seq, 8, 'email.received', $6 FROM e RETURNING id, created_at
	), a AS (
		INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason)
		SELECT id, created_at, 1, now(), 1, 500, 'status' FROM d
	), r AS (
		INSERT INTO fanmail.message_raws (id, created_at, raw) SELECT id, created_at, 'mail' FROM e
	)
	INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size, shared) SELECT id, created_at, tenant_id, 'a@example.com', id, id, 4, false FROM e`,
		k.tenant, days, k.seq, n, k.hook, status)
	k.seq += int64(n)
}

// ages returns the tenant's rows of a table by their age in whole days, and the state of deliveries.
func (k *keeper) ages(table string) map[string]int {
	k.t.Helper()
	state, where := "''", "tenant_id = $1"
	switch table {
	case "webhook_subscriber_deliveries":
		state = "' ' || status"
	case "webhook_delivery_attempts":
		where = "delivery_id NOT IN (SELECT id FROM fanmail.webhook_subscriber_deliveries WHERE tenant_id <> $1)"
	case "message_raws":
		where = "id NOT IN (SELECT raw_id FROM fanmail.messages WHERE tenant_id <> $1)"
	}
	rows, err := k.pool.Query(k.t.Context(), `SELECT floor(extract(epoch FROM now() - created_at) / 86400)::text || `+state+`, count(*) FROM fanmail.`+table+` WHERE `+where+` GROUP BY 1`, k.tenant)
	require.NoError(k.t, err)
	out := map[string]int{}
	for rows.Next() {
		var age string
		var n int
		require.NoError(k.t, rows.Scan(&age, &n))
		out[age] = n
	}
	require.NoError(k.t, rows.Err())
	return out
}

func past(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 31, 33)`)
	require.NoError(t, err)
}

func TestATenantsRowsGoAfterItsOwnTime(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	past(t, pool)
	mine := newKeeper(t, pool, tenancy.Quota{EventDays: 7, DeliveryDays: 5, MailDays: 3})
	other := newKeeper(t, pool, tenancy.Quota{Webhooks: 7})
	for _, k := range []*keeper{mine, other} {
		for _, days := range []float64{1.1, 4.1, 6.1, 8.1} {
			k.rows(3, days, "delivered")
			k.rows(2, days, "pending")
		}
		k.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET leased = true, next_retry_at = now() + interval '1 hour'
			WHERE id = (SELECT id FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1 AND status = 'pending' ORDER BY created_at LIMIT 1)`, k.hook)
		// An event that is not fanned out.
		k.exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) SELECT tenant_id, seq, id, created_at FROM fanmail.events WHERE tenant_id = $1 ORDER BY created_at LIMIT 1`, k.tenant)
	}
	// A mail of both tenants, and one of two agents of the first.
	mine.exec(`WITH r AS (INSERT INTO fanmail.message_raws (id, created_at, raw) SELECT gen_random_uuid(), now() - interval '100 hours', convert_to(i, 'UTF8') FROM unnest('{both,own}'::text[]) AS i RETURNING id, created_at, raw)
		INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size, shared)
		SELECT gen_random_uuid(), created_at, CASE WHEN n = 1 OR raw = 'own' THEN $1::uuid ELSE $2 END, 'a@example.com', id, id, 4, true FROM r, generate_series(1, 2) AS n`, mine.tenant, other.tenant)
	before := map[string]map[string]int{}
	tables := []string{"events", "webhook_subscriber_deliveries", "webhook_delivery_attempts", "messages", "message_raws"}
	for _, table := range tables {
		before[table] = other.ages(table)
	}

	r, err := retention.Run(t.Context(), pool, rulesOf(shorter))
	require.NoError(t, err)
	require.Equal(t, int64(3), r.Rows[subscribers.ExpireOfTenants], "two of six days, and of eight days the one that no dispatcher holds")
	require.Equal(t, map[string]int{"1": 5, "4": 5, "6": 5, "8": 1}, mine.ages("events"), "the oldest is not fanned out yet")
	require.Equal(t, map[string]int{"1 delivered": 3, "1 pending": 2, "4 delivered": 3, "4 pending": 2, "6 failed": 2, "8 failed": 1, "8 pending": 1}, mine.ages("webhook_subscriber_deliveries"),
		"what was pending can be read as expired until the next round")
	require.Equal(t, map[string]int{"1": 5, "4": 5, "6": 2, "8": 2}, mine.ages("webhook_delivery_attempts"))
	require.Equal(t, map[string]int{"1": 5}, mine.ages("messages"))
	require.Equal(t, map[string]int{"1": 5}, mine.ages("message_raws"))

	r, err = retention.Run(t.Context(), pool, rulesOf(shorter))
	require.NoError(t, err)
	require.Zero(t, r.Rows[subscribers.ExpireOfTenants])
	require.Equal(t, map[string]int{"1 delivered": 3, "1 pending": 2, "4 delivered": 3, "4 pending": 2, "8 pending": 1}, mine.ages("webhook_subscriber_deliveries"))
	require.Equal(t, map[string]int{"1": 5, "4": 5, "8": 1}, mine.ages("webhook_delivery_attempts"))
	before["message_raws"]["4"]++ // that of both is now the other's alone
	for _, table := range tables {
		require.Equal(t, before[table], other.ages(table), table)
	}
	var both int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.message_raws WHERE raw = 'both'`).Scan(&both))
	require.Equal(t, 1, both, "the other tenant has the mail too")

	// The raw mail goes with its last message.
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, other.tenant, tenancy.Quota{MailDays: 4}))
	_, err = retention.Run(t.Context(), pool, rulesOf(shorter))
	require.NoError(t, err)
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.message_raws WHERE raw = 'both'`).Scan(&both))
	require.Zero(t, both)
	require.Equal(t, map[string]int{"1": 5}, other.ages("messages"))
	require.Equal(t, before["events"], other.ages("events"))
}

func TestAnInstallationsTimesAreThoseOfItsPartitions(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	past(t, pool)
	k := newKeeper(t, pool, tenancy.Quota{})
	k.rows(1, 20, "pending")
	k.rows(1, 9, "delivered")
	k.rows(1, 1, "delivered")
	p := retention.Policy{Events: 14 * 24 * time.Hour, Deliveries: 20 * 24 * time.Hour, Attempts: 7 * 24 * time.Hour, Mail: 3 * 24 * time.Hour}.Within()
	require.Equal(t, 14*24*time.Hour, p.Deliveries, "not longer than events")
	k.exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) SELECT tenant_id, seq, id, created_at FROM fanmail.events WHERE tenant_id = $1 ORDER BY created_at LIMIT 1`, k.tenant)
	r, err := retention.Run(t.Context(), pool, rulesOf(p))
	require.NoError(t, err)
	require.Equal(t, int64(1), r.Rows[subscribers.ExpirePending])
	require.Equal(t, map[string]int{"1": 1, "9": 1, "20": 1}, k.ages("events"), "the day of an event that is not fanned out stays")
	require.Equal(t, map[string]int{"1 delivered": 1, "9 delivered": 1}, k.ages("webhook_subscriber_deliveries"))
	require.Equal(t, map[string]int{"1": 1}, k.ages("webhook_delivery_attempts"), "the day of nine days ago is past its seven and one")
	require.Equal(t, map[string]int{"1": 1}, k.ages("messages"))
	k.exec(`DELETE FROM fanmail.outbox`)
	_, err = retention.Run(t.Context(), pool, rulesOf(p))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"1": 1, "9": 1}, k.ages("events"))
}

// TestATenantsShorterTimeReadsWhatItDeletes deletes the rows of a tenant among those that stay and those of others.
func TestATenantsShorterTimeReadsWhatItDeletes(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	past(t, pool)
	for range 2 {
		k := newKeeper(t, pool, tenancy.Quota{})
		k.rows(20_000, 9, "delivered")
		k.rows(5_000, 9, "pending")
	}
	mine := newKeeper(t, pool, tenancy.Quota{EventDays: 7, DeliveryDays: 7, MailDays: 7})
	mine.rows(300, 9, "delivered")
	mine.rows(100, 9, "pending")
	mine.rows(20_000, 2, "delivered")
	mine.exec(`ANALYZE`)
	rec := pgplan.Open(t, url)
	_, err := retention.Run(context.Background(), rec.Pool, rulesOf(shorter))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"2": 20_000}, mine.ages("events"))
	for statement, b := range map[string]pgplan.Bound{
		"DELETE FROM fanmail.events": {Indexes: []string{"events_pkey", "events_tenant", "outbox_pkey"}, Rows: 1_300, Sorted: 900, Blocks: 10_000},
		"DELETE FROM fanmail.webhook_subscriber_deliveries": {
			Indexes: []string{byKey, "webhook_delivery_attempts_pkey", "webhook_subscriber_deliveries_history", "webhooks_deleted", "webhooks_tenant"}, Rows: 1_500, Sorted: 900, Blocks: 12_000,
		},
		"AND NOT (d.leased AND":            {Indexes: []string{byKey, "webhook_subscriber_deliveries_history", "webhooks_deleted", "webhooks_tenant"}, Rows: 500, Sorted: 300, Blocks: 5_000},
		"DELETE FROM fanmail.message_raws": {Indexes: []string{"message_raws_pkey", "messages_pkey", "messages_tenant"}, Rows: 1_700, Sorted: 900, Blocks: 12_000},
	} {
		t.Run(statement, func(t *testing.T) {
			rec.Of(t, statement).Within(t, b)
		})
	}
}
