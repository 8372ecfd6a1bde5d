package subscribers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// tenantStore is a store with one tenant. Its connections have production's settings.
type tenantStore struct {
	*subscribers.Store
	pool   *pgxpool.Pool
	tenant events.TenantID
}

func newTenantStore(t *testing.T) *tenantStore {
	t.Helper()
	ctx := context.Background()
	pool, err := pg.Open(ctx, pgtest.URL(t), 4)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s := &tenantStore{Store: subscribers.NewStore(pool, subscribers.Limits{}), pool: pool, tenant: events.NewRandom[events.TenantKind]()}
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, s.tenant)
	require.NoError(t, err)
	return s
}

func (s *tenantStore) webhook(t *testing.T) subscribers.Webhook {
	t.Helper()
	w, secret, err := s.Create(context.Background(), s.tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	require.NotEmpty(t, secret)
	return w
}

// pending inserts n deliveries of a webhook whose second attempt is due in an hour.
func (s *tenantStore) pending(t *testing.T, w events.WebhookID, n int) {
	t.Helper()
	_, err := s.pool.Exec(context.Background(), `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, attempts, max_attempts, event_type)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() + interval '1 hour', now() + interval '30 days', n, 1, 8, 'email.received'
		FROM generate_series(1, $3) AS n`, w, s.tenant, n)
	require.NoError(t, err)
}

func (s *tenantStore) count(t *testing.T, where string) (n int) {
	t.Helper()
	require.NoError(t, s.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE `+where).Scan(&n))
	return n
}

func TestEnablingMakesWaitingDeliveriesDue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, other := s.webhook(t), s.webhook(t)
	s.pending(t, w.ID, 20)
	s.pending(t, other.ID, 3)
	// A message carries this one to a lane; its lease must stay valid.
	_, err := s.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET attempts = 0, leased = true WHERE webhook_id = $1 AND seq = 1`, w.ID)
	require.NoError(t, err)
	off, on := false, true
	_, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Enabled: &off})
	require.NoError(t, err)
	require.Zero(t, s.count(t, `next_retry_at <= now()`))
	got, err := s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Enabled: &on})
	require.NoError(t, err)
	require.True(t, got.Enabled)
	require.Equal(t, 19, s.count(t, `next_retry_at <= now()`))
	require.Equal(t, 1+3, s.count(t, `next_retry_at > now()`), "those of the other webhook still wait")
}

func TestDeletingAWebhookEndsItsPendingDeliveries(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, other := s.webhook(t), s.webhook(t)
	s.pending(t, w.ID, 20)
	s.pending(t, other.ID, 3)
	_, err := s.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered', next_retry_at = NULL, finished_at = now() WHERE webhook_id = $1 AND seq = 1`, w.ID)
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, s.tenant, w.ID))
	require.Equal(t, 19, s.count(t, `status = 'failed' AND last_error = 'webhook deleted' AND finished_at IS NOT NULL AND next_retry_at IS NULL`))
	require.Equal(t, 1, s.count(t, `status = 'delivered'`), "a final row is never overwritten")
	require.Equal(t, 3, s.count(t, `status = 'pending'`))
	require.ErrorIs(t, s.Delete(ctx, s.tenant, w.ID), subscribers.ErrNotFound)
	_, err = s.Get(ctx, s.tenant, w.ID)
	require.ErrorIs(t, err, subscribers.ErrNotFound)
}

func TestAStoreInATransactionChangesNothingBeforeItCommits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	tx, err := s.pool.Begin(ctx)
	require.NoError(t, err)
	w, _, err := s.In(tx).Create(ctx, s.tenant, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{events.EmailSent}})
	require.NoError(t, err)
	// A refusal leaves the caller's transaction usable.
	_, _, err = s.In(tx).Create(ctx, s.tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailSent}, Filters: subscribers.Filters{AgentIDs: []string{"nobody@example.com"}},
	})
	var field *events.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "filters.agent_ids", field.Field)
	_, err = s.In(tx).Get(ctx, s.tenant, w.ID)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(ctx))
	_, err = s.Get(ctx, s.tenant, w.ID)
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	_, _, err = s.Create(ctx, events.NewRandom[events.TenantKind](), w)
	require.ErrorIs(t, err, subscribers.ErrNotFound)
}

func TestHistoryReadsOneWebhooksRowsByItsIndex(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.webhook(t)
	s.pending(t, s.webhook(t).ID, 2000)
	s.pending(t, w.ID, 50)
	rows := plan(ctx, t, s, func(tx pgx.Tx) error {
		_, _, err := s.In(tx).ListDeliveries(ctx, s.tenant, w.ID, subscribers.DeliveryFilter{}, subscribers.Place{}, 20)
		return err
	}, "FROM fanmail.webhook_subscriber_deliveries")
	require.NotContains(t, rows, "Sort", "the index gives the order")
	require.NotContains(t, rows, "Seq Scan")

	d, err := s.InsertTest(ctx, s.tenant, w.ID, subscribers.TestEvent{})
	require.NoError(t, err)
	rows = plan(ctx, t, s, func(tx pgx.Tx) error {
		_, _, _, err := s.In(tx).GetDelivery(ctx, s.tenant, d.ID)
		return err
	}, "FROM fanmail.webhook_subscriber_deliveries")
	require.Equal(t, 1, strings.Count(rows, "Index Scan"), "the id determines the partition:\n%s", rows)
	require.NotContains(t, rows, "Seq Scan")

	imported := events.DeliveryID{0xff, 0xff}
	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET id = $2 WHERE id = $1`, d.ID, imported)
	rows = plan(ctx, t, s, func(tx pgx.Tx) error {
		_, _, _, err := s.In(tx).GetDelivery(ctx, s.tenant, imported)
		return err
	}, "FROM fanmail.webhook_subscriber_deliveries")
	require.NotContains(t, rows, "Seq Scan", "one lookup by key in each partition")
}

// plan returns the plans of those statements of f that contain a text. It runs them
// on a connection of its own with the pool's settings.
func plan(ctx context.Context, t *testing.T, s *tenantStore, f func(pgx.Tx) error, holding string) string {
	t.Helper()
	var plans []string
	cfg := s.pool.Config().ConnConfig.Copy()
	recorder := &recorder{holding: holding}
	cfg.Tracer = recorder
	conn, err := pgx.ConnectConfig(ctx, cfg)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, f(tx))
	require.NoError(t, tx.Rollback(ctx))
	require.NotEmpty(t, recorder.seen)
	for _, q := range recorder.seen {
		lines, err := conn.Query(ctx, "EXPLAIN "+q.sql, q.args...)
		require.NoError(t, err)
		text, err := pgx.CollectRows(lines, pgx.RowTo[string])
		require.NoError(t, err)
		plans = append(plans, strings.Join(text, "\n"))
	}
	return fmt.Sprint(plans)
}

type query struct {
	sql  string
	args []any
}

type recorder struct {
	holding string
	seen    []query
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if strings.Contains(d.SQL, r.holding) && !strings.HasPrefix(d.SQL, "EXPLAIN") {
		r.seen = append(r.seen, query{d.SQL, d.Args})
	}
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestATestDeliveryHasAnEventOfItsOwn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.webhook(t)
	d, err := s.InsertTest(ctx, s.tenant, w.ID, subscribers.TestEvent{})
	require.NoError(t, err)
	require.Equal(t, events.DeriveDeliveryID(d.EventID, w.ID, events.ReplayID{}, d.CreatedAt), d.ID)
	got, attempts, envelope, err := s.GetDelivery(ctx, s.tenant, d.ID)
	require.NoError(t, err)
	require.Equal(t, d, got)
	require.Empty(t, attempts)
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	require.Equal(t, d.EventID, env.ID)
	var data map[string]any
	require.NoError(t, json.Unmarshal(env.Data, &data))
	require.Equal(t, true, data["test"])
	require.WithinDuration(t, d.CreatedAt.Add(subscribers.Retention), d.ExpiresAt, time.Microsecond)

	// The dispatcher fetches it as it fetches every other due delivery.
	due, _, err := subscribers.FetchDue(ctx, s.pool, []subscribers.FetchRequest{{WebhookID: w.ID, Room: 10}})
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, []byte(envelope), due[0].Envelope)
}
