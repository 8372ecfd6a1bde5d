package opevents_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// office is a database with the worker on it.
type office struct {
	t      *testing.T
	pool   *pgxpool.Pool
	store  *subscribers.Store
	worker *opevents.Worker
}

func open(t *testing.T) *office {
	t.Helper()
	pool := pgtest.Pool(t)
	return &office{t: t, pool: pool, store: subscribers.NewStore(pool, subscribers.Limits{}), worker: opevents.New(pool, opevents.Options{})}
}

func (o *office) exec(sql string, args ...any) {
	o.t.Helper()
	_, err := o.pool.Exec(context.Background(), sql, args...)
	require.NoError(o.t, err)
}

func (o *office) tenant(operator bool) events.TenantID {
	o.t.Helper()
	id := events.NewRandom[events.TenantKind]()
	o.exec(`INSERT INTO fanmail.tenants (id, name, operator) VALUES ($1, 'test', $2)`, id, operator)
	return id
}

func (o *office) webhook(tenant events.TenantID, types ...events.Type) events.WebhookID {
	o.t.Helper()
	w, _, err := o.store.Create(context.Background(), tenant, subscribers.Webhook{URL: "https://hooks.example.com/in", Events: types, Enabled: true})
	require.NoError(o.t, err)
	return w.ID
}

// last makes a delivery whose next attempt is its last.
func (o *office) last(tenant events.TenantID, hook events.WebhookID, typ events.Type, kind string) subscribers.Outcome {
	o.t.Helper()
	at := time.Now().UTC().Truncate(time.Microsecond)
	d := events.DeriveDeliveryID(events.NewID(), hook, events.ReplayID{}, at)
	o.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, attempts, max_attempts, event_type, kind)
		VALUES ($1, $2, $3, $4, gen_random_uuid(), $2, now(), now() + interval '1 day', 1, 7, 8, $5, $6)`, d, at, hook, tenant, string(typ), kind)
	return subscribers.Outcome{
		Ref: subscribers.Ref{ID: d, CreatedAt: at}, WebhookID: hook, Attempt: 8, StatusCode: 500, Error: "answered 500", Reason: "status_5xx",
	}
}

func (o *office) write(l *subscribers.OutcomeBatch) {
	o.t.Helper()
	_, err := subscribers.WriteOutcomes(context.Background(), o.pool, l)
	require.NoError(o.t, err)
}

// told is what the tenant was told since the last time, by the outbox.
func (o *office) told(tenant events.TenantID) (types []events.Type, data []map[string]any) {
	o.t.Helper()
	for _, b := range o.sent(tenant) {
		env, err := events.DecodeEnvelope(b)
		require.NoError(o.t, err)
		var d map[string]any
		require.NoError(o.t, json.Unmarshal(env.Data, &d))
		types, data = append(types, env.Type), append(data, d)
	}
	return types, data
}

// sent are the envelopes of it.
func (o *office) sent(tenant events.TenantID) [][]byte {
	o.t.Helper()
	ctx := context.Background()
	for {
		n, err := o.worker.Round(ctx)
		require.NoError(o.t, err)
		if n == 0 {
			break
		}
	}
	rows, err := o.pool.Query(ctx, `WITH taken AS (DELETE FROM fanmail.outbox WHERE tenant_id = $1 RETURNING event_id)
		SELECT e.envelope FROM taken JOIN fanmail.events AS e ON e.id = taken.event_id ORDER BY e.seq`, tenant)
	require.NoError(o.t, err)
	envelopes, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(o.t, err)
	return envelopes
}

func TestADeliverysEndIsToldOnceToWhoAsksForIt(t *testing.T) {
	t.Parallel()
	o := open(t)
	tenant, operator, other := o.tenant(false), o.tenant(true), o.tenant(false)
	hook := o.webhook(tenant, events.EmailReceived)
	first := o.last(tenant, hook, events.EmailReceived, "live")
	o.write(&subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{first}})
	types, _ := o.told(tenant)
	require.Empty(t, types, "nobody asks")

	o.webhook(tenant, events.DeliveryExhausted)
	o.webhook(operator, events.DeliveryExhausted)
	o.webhook(other, events.DeliveryExhausted)
	second := o.last(tenant, hook, events.EmailReceived, "live")
	retry := o.last(tenant, hook, events.EmailReceived, "live")
	retry.Attempt = 3 // of a stale attempt: it ends nothing
	delivered := o.last(tenant, hook, events.EmailReceived, "live")
	delivered.Delivered, delivered.StatusCode = true, 200
	book := &subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{second, retry, delivered}}
	o.write(book)
	o.write(book) // a commit in doubt is written again
	types, data := o.told(tenant)
	require.Equal(t, []events.Type{events.DeliveryExhausted}, types)
	require.Equal(t, second.ID.String(), data[0]["delivery_id"])
	require.Equal(t, hook.String(), data[0]["webhook_id"])
	require.Equal(t, tenant.String(), data[0]["tenant_id"])
	require.Equal(t, "https://hooks.example.com/in", data[0]["webhook_url"])
	require.EqualValues(t, 8, data[0]["attempts"])
	require.EqualValues(t, 500, data[0]["last_status_code"])
	types, data = o.told(operator)
	require.Equal(t, []events.Type{events.DeliveryExhausted}, types)
	require.Equal(t, tenant.String(), data[0]["tenant_id"], "an operator is told whose it is")
	types, _ = o.told(other)
	require.Empty(t, types)
}

func TestOperationalEventsAreNotToldOfThemselves(t *testing.T) {
	t.Parallel()
	o := open(t)
	tenant := o.tenant(false)
	hook := o.webhook(tenant, events.Operational()...)
	o.webhook(tenant, events.Operational()...)
	var all []subscribers.Outcome
	for _, typ := range events.Operational() {
		all = append(all, o.last(tenant, hook, typ, "live"))
	}
	all = append(all, o.last(tenant, hook, events.EmailReceived, "test"))
	unsent := o.last(tenant, hook, events.EmailReceived, "live")
	unsent.Unsent = true // our own doing: its event is gone
	o.write(&subscribers.OutcomeBatch{Outcomes: append(all, unsent)})
	types, _ := o.told(tenant)
	require.Empty(t, types)
	var failed int
	require.NoError(t, o.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'failed'`).Scan(&failed))
	require.Equal(t, len(all)+1, failed, "they did end")
}

func TestAWebhooksDisablingAndRecoveryAreTold(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := open(t)
	tenant := o.tenant(false)
	hook := o.webhook(tenant, events.EmailReceived, events.WebhookDisabled)
	o.write(&subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
	types, _ := o.told(tenant)
	require.Empty(t, types, "the webhook that is off can't be told")

	enable := func(id events.WebhookID) {
		t.Helper()
		o.exec(`UPDATE fanmail.webhooks SET auto_disabled_at = auto_disabled_at - interval '6 minutes' WHERE id = $1`, id)
		_, err := o.store.Update(ctx, tenant, id, subscribers.Patch{Enabled: new(true)})
		require.NoError(t, err)
	}
	o.webhook(tenant, events.WebhookDisabled, events.WebhookRecovered)
	enable(hook)
	o.write(&subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
	types, data := o.told(tenant)
	require.Equal(t, []events.Type{events.WebhookDisabled}, types)
	require.Equal(t, hook.String(), data[0]["webhook_id"])
	require.Contains(t, data[0]["reason"], "410")
	o.write(&subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
	types, _ = o.told(tenant)
	require.Empty(t, types, "it is off already")

	enable(hook)
	types, _ = o.told(tenant)
	require.Empty(t, types, "enabled is not recovered")
	// Its owner's switching it off and on changes nothing about that.
	for _, on := range []bool{false, true} {
		_, err := o.store.Update(ctx, tenant, hook, subscribers.Patch{Enabled: new(on)})
		require.NoError(t, err)
	}
	o.write(&subscribers.OutcomeBatch{Touch: []events.WebhookID{hook}})
	types, data = o.told(tenant)
	require.Equal(t, []events.Type{events.WebhookRecovered}, types)
	require.Equal(t, hook.String(), data[0]["webhook_id"])
	o.write(&subscribers.OutcomeBatch{Touch: []events.WebhookID{hook}})
	types, _ = o.told(tenant)
	require.Empty(t, types, "once")
}

func TestTheWorkersDisablingIsToldIfItCommits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := open(t)
	tenant := o.tenant(false)
	hook := o.webhook(tenant, events.EmailReceived)
	o.webhook(tenant, events.WebhookDisabled)
	o.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	o.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, attempts, max_attempts, event_type, status, last_attempt_at, finished_at)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() + interval '1 day', n, 8, 8, 'email.received', 'failed', now(), now()
		FROM generate_series(1, 10) AS n`, hook, tenant)
	undone := errors.New("undone")
	for _, end := range []error{undone, nil} {
		err := pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
			list, err := subscribers.DisableFailing(ctx, tx)
			require.NoError(t, err)
			require.Len(t, list, 1)
			return end
		})
		require.ErrorIs(t, err, end)
		types, data := o.told(tenant)
		if end != nil {
			require.Empty(t, types)
			continue
		}
		require.Equal(t, []events.Type{events.WebhookDisabled}, types)
		require.Contains(t, data[0]["reason"], "72 hours")
	}
}

// The outcome writer must not wait for whoever holds a strict tenant's lock.
func TestTheOutcomeWriterDoesNotWaitForAProducer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := open(t)
	tenant := o.tenant(false)
	hook := o.webhook(tenant, events.EmailReceived)
	o.webhook(tenant, events.DeliveryExhausted)
	require.NoError(t, outbox.MarkStrict(ctx, o.pool, tenant))
	producer, err := o.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = producer.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))`, tenant)
	require.NoError(t, err)
	o.write(&subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{o.last(tenant, hook, events.EmailReceived, "live")}})
	held, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = o.worker.Round(held)
	require.Error(t, err, "the worker waits with the producer")
	require.NoError(t, producer.Commit(ctx))
	// The server releases the row once it sees that its client is gone.
	require.Eventually(t, func() bool {
		types, _ := o.told(tenant)
		return len(types) == 1 && types[0] == events.DeliveryExhausted
	}, time.Minute, 10*time.Millisecond, "and then tells what it had to give back")
}
