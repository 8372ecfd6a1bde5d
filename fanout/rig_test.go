package fanout_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func newTenant(t *testing.T, pool *pgxpool.Pool) events.TenantID {
	t.Helper()
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(context.Background(), `INSERT INTO tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	return tenant
}

// newWebhook makes one that wants all mail of the tenant.
func newWebhook(t *testing.T, pool *pgxpool.Pool, tenant events.TenantID) events.WebhookID {
	t.Helper()
	w, _, err := subscribers.NewStore(pool, subscribers.Limits{}).Create(context.Background(), tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	return w.ID
}

// insert puts n events into the outbox and gives the last one's id.
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
