package fanout_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func newTenant(t *testing.T, pool *pgxpool.Pool) events.TenantID {
	t.Helper()
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(context.Background(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	return tenant
}

// newWebhook makes a webhook that gets all mail of the tenant.
func newWebhook(t *testing.T, pool *pgxpool.Pool, tenant events.TenantID) events.WebhookID {
	t.Helper()
	w, _, err := subscribers.NewStore(pool, subscribers.Limits{}).Create(context.Background(), tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	return w.ID
}

// insert puts n events into the outbox and returns the id of the last one.
func insert(t *testing.T, pool *pgxpool.Pool, tenant events.TenantID, n int) (last events.ID) {
	t.Helper()
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{}`)}
	}
	ctx := context.Background()
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		done, err := outbox.InsertMany(ctx, tx, evs)
		if err == nil {
			last = done[n-1].ID
		}
		return err
	}))
	return last
}

// startRelay starts a relay. stop ends it, and returns when the relay has published
// all events that it had leased.
func startRelay(t *testing.T, pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream) (stop func()) {
	t.Helper()
	return run(t, relay.New(pool, nc, js, relay.Options{Log: zaptest.NewLogger(t)}).Run)
}

// fanOut starts a fan-out that knows the present webhooks. stop ends it, and returns
// when its batches are done. lanes may be nil.
func fanOut(t *testing.T, pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, lanes fanout.Lanes) (stop func()) {
	t.Helper()
	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nc, log)
	require.NoError(t, registry.Load(context.Background()))
	return run(t, fanout.New(pool, js, registry, fanout.Options{Log: log, Lanes: lanes}).Run)
}

func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}
