package fanout_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestFanoutTakesItsRowsByKey fans out a few hundred events beside an outbox
// full of others.
func TestFanoutTakesItsRowsByKey(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	nc, js := natstest.Connect(t)
	tenant := events.NewRandom[events.TenantKind]()
	const held, n = 20_000, 300
	_, err := pool.Exec(ctx, `INSERT INTO tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `INSERT INTO outbox (tenant_id, event_id, created_at, leased_until)
		SELECT $1, gen_random_uuid(), now(), now() + interval '1 hour' FROM generate_series(1, $2::int)`, tenant, held)
	require.NoError(t, err)
	_, _, err = subscribers.NewStore(pool, subscribers.Limits{}).Create(ctx, tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{}`)}
	}
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.InsertMany(ctx, tx, evs)
		return err
	}))

	log := zaptest.NewLogger(t)
	r := pgplan.Open(t, url)
	registry := subscribers.NewRegistry(r.Pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	done := make(chan error, 2)
	go func() { done <- outbox.NewRelay(pool, nc, js, outbox.RelayOptions{Log: log}).Run(ctx) }()
	go func() { done <- fanout.New(r.Pool, js, registry, fanout.Options{Log: log}).Run(ctx) }()
	require.Eventually(t, func() bool {
		var left, born int
		err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM webhook_subscriber_deliveries)`).Scan(&left, &born)
		return err == nil && left == held && born == n
	}, time.Minute, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, <-done)

	p := r.Of(t, "DELETE FROM outbox")
	t.Logf("takeOutbox: %d rows read, %d sorted, %d blocks", p.Rows(), p.Sorted(), p.Blocks())
	p.Within(t, pgplan.Bound{Indexes: []string{"outbox_pkey"}, Rows: 3 * n, Sorted: n, Blocks: 20 * n})
	p = r.Of(t, "INSERT INTO webhook_subscriber_deliveries")
	p.Within(t, pgplan.Bound{Blocks: 60 * n})
}
