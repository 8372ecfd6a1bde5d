package subscribers_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// The indexes that the statements of the hot path use.
const (
	byKey    = "webhook_subscriber_deliveries_pkey"
	byDue    = "webhook_subscriber_deliveries_due"
	byStrict = "webhook_subscriber_deliveries_strict"
	byEvent  = "events_pkey"
	byFailed = "webhook_subscriber_deliveries_failed"
)

// backlog is a table with a history and with pending deliveries of these webhooks:
// one with 40,000 due rows, one in strict order, and ten with a few rows that are
// not due. Of two more webhooks 20,000 deliveries failed: one answered errors, and
// the other's deliveries expired.
type backlog struct {
	*pgplan.Recorder
	t                   *testing.T
	heavy, strict, dead events.WebhookID
	expired             events.WebhookID
	light               []events.WebhookID
}

const (
	finishedRows = 200_000
	heavyRows    = 40_000
	strictRows   = 5_000
	failedRows   = 20_000
	lightRows    = 500
	lightHooks   = 10
	eventRows    = 6_000
	days         = 3
)

func newBacklog(t *testing.T) *backlog {
	t.Helper()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	b := &backlog{t: t, heavy: events.NewRandom[events.WebhookKind](), strict: events.NewRandom[events.WebhookKind](), dead: events.NewRandom[events.WebhookKind](), expired: events.NewRandom[events.WebhookKind]()}
	for range lightHooks {
		b.light = append(b.light, events.NewRandom[events.WebhookKind]())
	}
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	// The test decides when there are statistics.
	exec(`DO $$ DECLARE p regclass; BEGIN
		FOR p IN SELECT inhrelid FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE c.relkind = 'r' LOOP
			EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', p);
		END LOOP; END $$`)
	const midnight = `(now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC'`
	exec(`INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT lpad(to_hex(i), 32, '0')::uuid, `+midnight+` + make_interval(days => i % $2 - 1), gen_random_uuid(), 'email.received', i, '{}'
		FROM generate_series(1, $1::int) AS i`, eventRows, days)
	rows := func(n int, of []events.WebhookID, due time.Duration, status string, strict bool) {
		exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, finished_at, expires_at, seq, max_attempts, event_type, status, strict)
			SELECT gen_random_uuid(), day + make_interval(secs => i % 80000), ($2::uuid[])[1 + i % array_length($2, 1)], gen_random_uuid(), lpad(to_hex(1 + i % $7), 32, '0')::uuid, day,
				CASE WHEN $4 = 'pending' THEN now() + make_interval(secs => $3 + i * 0.001) END, CASE WHEN $4 <> 'pending' THEN now() END, day + interval '30 days', i, 8, 'email.received', $4, $5
			FROM generate_series(1, $1::int) AS i, LATERAL (SELECT `+midnight+` + make_interval(days => (1 + i % $7) % $6 - 1) AS day) AS d`,
			n, of, due.Seconds(), status, strict, days, eventRows)
	}
	rows(finishedRows, append([]events.WebhookID{b.heavy, b.strict}, b.light...), 0, "delivered", false)
	rows(heavyRows, []events.WebhookID{b.heavy}, -2*time.Hour, "pending", false)
	rows(lightHooks*lightRows, b.light, time.Hour, "pending", false)
	rows(strictRows, []events.WebhookID{b.strict}, -time.Hour, "pending", true)
	rows(failedRows, []events.WebhookID{b.dead}, 0, "failed", false)
	rows(lightHooks, b.light, 0, "failed", false)
	rows(failedRows, []events.WebhookID{b.expired}, 0, "failed", false)
	exec(`UPDATE fanmail.webhook_subscriber_deliveries SET last_attempt_at = finished_at WHERE status = 'failed' AND webhook_id <> $1`, b.expired)
	exec(`INSERT INTO fanmail.tenants (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'test')`)
	exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret, enabled_at, created_at)
		SELECT id, '00000000-0000-0000-0000-000000000001', 'https://hooks.example.com/', '{email.received}', '', now() - interval '30 days',
			now() - interval '30 days' - make_interval(secs => row_number() OVER ()) -- else an index of tenants and times finds ids too, from Postgres 18 on
		FROM (SELECT unnest($1::uuid[]) UNION ALL SELECT gen_random_uuid() FROM generate_series(1, 3000)) AS w (id)`,
		append([]events.WebhookID{b.heavy, b.strict, b.dead, b.expired}, b.light...))
	exec(`ANALYZE fanmail.webhooks`) // in production it has statistics: it changes seldom
	b.Recorder = pgplan.Open(t, url)
	return b
}

// TestHotStatementsReadWhatTheyAreAskedFor runs the dispatcher's statements on a
// large table, first without statistics and then with them.
func TestHotStatementsReadWhatTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	b := newBacklog(t)
	b.statements("never analyzed")
	// Autovacuum analyzes only partitions that have rows.
	_, err := b.Pool.Exec(context.Background(), `DO $$ DECLARE p regclass; BEGIN
		FOR p IN SELECT inhrelid FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0 LOOP
			EXECUTE format('ANALYZE %s', p);
		END LOOP; END $$`)
	require.NoError(t, err)
	b.Pool.Reset() // new connections have no cached plans
	b.statements("analyzed")
}

func (b *backlog) statements(when string) {
	b.t.Log(when)
	ctx := context.Background()
	const room = 100

	b.Reset()
	wants := []subscribers.FetchRequest{{WebhookID: b.heavy, Room: room}}
	for _, w := range b.light {
		wants = append(wants, subscribers.FetchRequest{WebhookID: w, Room: room})
	}
	leased, next, err := subscribers.FetchDue(ctx, b.Pool, wants)
	require.NoError(b.t, err)
	require.Len(b.t, leased, room)
	require.Len(b.t, next, 1+lightHooks)
	b.within("fetchDueRows", "NOT strict AND next_retry_at <= now()", pgplan.Bound{
		Indexes: []string{byDue, byKey}, Rows: 4 * room, Sorted: 2 * room, Blocks: 36 * room,
	})
	b.within("envelopes", "e.envelope", pgplan.Bound{Indexes: []string{byEvent}, Rows: 2 * room, Blocks: 8 * room})
	b.within("earliestPending", "SELECT w.webhook_id, (", pgplan.Bound{
		Indexes: []string{byDue}, Rows: 9 * days * len(wants), Blocks: 9 * 8 * len(wants),
	})

	_, err = b.Pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE webhook_id = $1 AND status = 'pending' AND strict AND seq = 1`, b.strict)
	require.NoError(b.t, err)
	b.Reset()
	head, _, err := subscribers.FetchDue(ctx, b.Pool, []subscribers.FetchRequest{{WebhookID: b.strict, TenantID: events.NewRandom[events.TenantKind](), Strict: true}})
	require.NoError(b.t, err)
	require.Len(b.t, head, 1)
	b.within("fetchHead", "AS h\n", pgplan.Bound{
		Indexes: []string{byStrict, byKey}, Rows: 50, Sorted: 10, Blocks: 200,
	})
	b.within("lowestWaiting", "fanmail.outbox WHERE tenant_id = t.id", pgplan.Bound{Indexes: []string{"outbox_pkey"}, Rows: 5, Blocks: 10})
	b.within("strictHeads", "SELECT w.webhook_id, h.next_retry_at", pgplan.Bound{Indexes: []string{byStrict}, Rows: 20, Blocks: 100})

	b.Reset()
	found := 0
	for p := range events.Partitions {
		b.Reset()
		of, err := subscribers.FindPending(ctx, b.Pool, p)
		require.NoError(b.t, err)
		found += len(of)
		b.within("pendingDue", "ORDER BY webhook_id, next_retry_at", pgplan.Bound{
			Indexes: []string{byDue}, Rows: 9 * (1 + len(of)), Blocks: 9 * 8 * (1 + len(of)),
		})
		b.within("pendingStrict", "ORDER BY webhook_id, seq", pgplan.Bound{
			Indexes: []string{byStrict}, Rows: 9 * (1 + len(of)), Blocks: 9 * 8 * (1 + len(of)),
		})
	}
	require.Equal(b.t, 2+lightHooks, found)

	// The heavy webhook's due rows are not read, nor what is due after the range.
	b.Reset()
	soon := time.Now().Add(time.Minute).UnixMicro()
	_, err = subscribers.FindLeased(ctx, b.Pool, append([]events.WebhookID{b.heavy}, b.light...), time.Now().UnixMicro(), soon, 100)
	require.NoError(b.t, err)
	b.within("leasedRows", "AND leased AND attempts = 0", pgplan.Bound{
		Indexes: []string{byDue}, Rows: 20 * (1 + lightHooks), Blocks: 100 * (1 + lightHooks),
	})

	b.disabling()
	b.failing()
	b.counting()

	rows := make([]subscribers.NewDelivery, len(leased))
	for i := range leased {
		rows[i] = subscribers.NewDelivery{Ref: leased[i].Ref, WebhookID: leased[i].WebhookID}
	}
	b.record(rows, room/4)
}

// disabling expects the check for failing webhooks to read no history, and only a
// part of a webhook's failures that do not count.
func (b *backlog) disabling() {
	ctx := context.Background()
	b.Reset()
	tx, err := b.Pool.Begin(ctx)
	require.NoError(b.t, err)
	got, err := subscribers.DisableFailing(ctx, tx)
	require.NoError(b.t, err)
	require.NoError(b.t, tx.Rollback(ctx))
	require.Len(b.t, got, 1)
	require.Equal(b.t, b.dead, got[0].ID)
	b.within("disableFailing", "AS counted", pgplan.Bound{
		Indexes: []string{byFailed, "webhook_delivery_attempts_pkey", "webhooks_pkey"},
		Rows:    60*(2+lightHooks) + 2*1000, Blocks: 200*(2+lightHooks) + 6*1000,
	})
}

// failing expects the check for failing webhooks to read one row of each webhook with a backlog or a failure, and a bounded
// number of them.
func (b *backlog) failing() {
	ctx := context.Background()
	b.Reset()
	tx, err := b.Pool.Begin(ctx)
	require.NoError(b.t, err)
	_, err = subscribers.MarkFailing(ctx, tx)
	require.NoError(b.t, err)
	require.NoError(b.t, tx.Rollback(ctx))
	b.within("markFailing", "AS since", pgplan.Bound{
		Indexes: []string{byDue, byStrict, byFailed, "webhooks_pkey"},
		Rows:    60*3*(4+lightHooks) + 3*2*1000, Sorted: 3 * (4 + lightHooks), Blocks: 200*3*(4+lightHooks) + 3*6*1000,
	})
}

// counting expects the count of a backlog to read pending rows only.
func (b *backlog) counting() {
	b.Reset()
	store := subscribers.NewStore(b.Pool, subscribers.Limits{})
	tenant := events.TenantID{15: 1}
	for webhook, rows := range map[events.WebhookID]int{b.heavy: heavyRows, b.strict: strictRows, b.dead: 0} {
		b.Reset()
		got, err := store.Backlog(context.Background(), tenant, webhook)
		require.NoError(b.t, err)
		require.InDelta(b.t, rows, got.Pending, 50, "the outcome writer has ended some")
		b.within("countBacklog", "AS p", pgplan.Bound{Indexes: []string{byDue, byStrict}, Rows: 2*rows + 50, Blocks: 3*rows + 300})
	}
}

func (b *backlog) within(name, holding string, bound pgplan.Bound) {
	b.t.Helper()
	p := b.Of(b.t, holding)
	b.t.Logf("%s: %d rows read, %d sorted, %d blocks", name, p.Rows(), p.Sorted(), p.Blocks())
	p.Within(b.t, bound)
}

// TestAPlanMadeOnAnEmptyDayStillReadsWhatItIsAskedFor is about cached plans:
// connections keep them, and the partition of a new day has neither rows nor
// statistics.
func TestAPlanMadeOnAnEmptyDayStillReadsWhatItIsAskedFor(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	b := &backlog{t: t, Recorder: pgplan.Open(t, url)}
	_, err := b.Pool.Exec(ctx, `DO $$ DECLARE p regclass; BEGIN
		FOR p IN SELECT inhrelid FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE c.relkind = 'r' LOOP
			EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', p);
		END LOOP; END $$`)
	require.NoError(t, err)
	const part = 25
	now := time.Now().Truncate(time.Microsecond)
	write := func() {
		rows := make([]subscribers.NewDelivery, 4*part)
		for i := range rows {
			rows[i] = subscribers.NewDelivery{
				Ref:       subscribers.Ref{ID: events.NewRandom[events.DeliveryKind](), CreatedAt: now.Add(time.Duration(i) * time.Microsecond)},
				WebhookID: events.NewRandom[events.WebhookKind](), TenantID: events.NewRandom[events.TenantKind](),
				EventID: events.NewID(), EventType: events.EmailReceived,
			}
		}
		q := &pgx.Batch{}
		subscribers.QueueInsert(q, rows)
		require.NoError(t, b.Pool.SendBatch(ctx, q).Close())
		b.record(rows, part)
	}
	write()
	_, err = b.Pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), $1::timestamptz + make_interval(secs => i * 0.000001), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $1, $1, $1, i, 8, 'email.received'
		FROM generate_series(1, 50000) AS i`, now)
	require.NoError(t, err)
	write()
}

// record writes a quarter each of the rows as delivered, failed, released and
// renewed. It expects that no statement reads more rows than it needs.
func (b *backlog) record(rows []subscribers.NewDelivery, part int) {
	b.t.Helper()
	ctx := context.Background()
	var l subscribers.OutcomeBatch
	for i, d := range rows {
		var lease time.Time
		require.NoError(b.t, b.Pool.QueryRow(ctx, `SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries WHERE id = $1 AND created_at = $2`,
			d.ID, d.CreatedAt).Scan(&lease))
		o := subscribers.Outcome{Ref: d.Ref, WebhookID: d.WebhookID, Attempt: 1, StatusCode: 200, Delivered: true}
		held := subscribers.Lease{Ref: d.Ref, Lease: lease.UnixMicro()}
		switch i / part {
		case 0:
			l.Outcomes = append(l.Outcomes, o)
		case 1:
			o.StatusCode, o.Delivered, o.Error, o.Reason, o.Retry = 500, false, "answered 500", "status_5xx", time.Minute
			l.Outcomes = append(l.Outcomes, o)
		case 2:
			l.Release = append(l.Release, held)
		default:
			l.Renew = append(l.Renew, held)
		}
	}
	b.Reset()
	w, err := subscribers.WriteOutcomes(ctx, b.Pool, &l)
	require.NoError(b.t, err)
	require.Zero(b.t, w.Stale)
	require.Len(b.t, w.Next, part)
	require.Len(b.t, w.Renewed, part)
	each := pgplan.Bound{Indexes: []string{byKey}, Rows: 2 * part, Blocks: 40 * part}
	b.within("recordDelivered", "SET status = 'delivered'", each)
	b.within("recordFailed", "CASE WHEN (o.final", each)
	b.within("releaseRows", "SET next_retry_at = now() + make_interval(secs => o.pause), leased = false", each)
	b.within("renewRows", "SET next_retry_at = coalesce($5", each)
}
