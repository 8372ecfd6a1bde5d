package erasure_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/outbox"
)

// TestAProducerWithALongTransactionLeavesNothing has programs whose transactions began before the tenant was deleted: one
// has inserted an event, and one inserts it later with its old snapshot.
func TestAProducerWithALongTransactionLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.engine()
	tenant, stays := r.tenant(), r.tenant()
	r.mail(letter{from: ann, to: "robot@agents.example"}, tenant, stays)
	insert := func(tx pgx.Tx) error {
		_, err := outbox.Insert(t.Context(), tx, events.Event{TenantID: tenant, Type: events.EmailSent, Data: json.RawMessage(`{"of":"lateword"}`), IdempotencyKey: "late"})
		return err
	}
	early, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = early.Rollback(context.Background()) }()
	require.NoError(t, insert(early))
	old, err := r.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = old.Rollback(context.Background()) }()
	_, err = old.Exec(t.Context(), `SELECT FROM fanmail.tenants LIMIT 1`)
	require.NoError(t, err)

	require.NoError(t, outbox.Close(t.Context(), r.pool, tenant))
	asked, err := erasure.OfTenant(t.Context(), r.pool, tenant, 0, "key_operator")
	require.NoError(t, err)
	w := r.worker()
	round := func() (phase string, waits int) {
		require.NoError(t, w.Round(t.Context()))
		require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT phase, coalesce(cardinality(writers), -1) FROM fanmail.erasures WHERE id = $1`, asked.ID).Scan(&phase, &waits))
		return phase, waits
	}
	until := func(writers int) {
		t.Helper()
		require.Eventually(t, func() bool { phase, waits := round(); return phase == "late" && waits == writers }, patience, 1)
	}
	until(3) // old has written nothing yet, and has no id
	var refused *events.DeletedTenantError
	require.ErrorAs(t, pgx.BeginFunc(t.Context(), r.pool, insert), &refused, "a transaction that begins now is refused")
	require.NoError(t, early.Commit(t.Context()))
	until(1)
	_, err = outbox.Insert(t.Context(), old, events.Event{TenantID: tenant, Type: events.EmailSent, Data: json.RawMessage(`{"of":"lateword"}`)})
	require.NoError(t, err, "its snapshot is older than the deletion")
	require.NoError(t, old.Commit(t.Context()))

	done := r.end(asked)
	require.EqualValues(t, 3, done.Removed["events"])
	r.delivered()
	require.Empty(t, r.holding("lateword"))
	for name, rows := range r.all(tenant) {
		if kept[name] == "" {
			require.Empty(t, rows, name)
		}
	}
	require.Len(t, r.all(stays)["events"], 1)
	require.ErrorAs(t, pgx.BeginFunc(context.Background(), r.pool, insert), &refused, "also after the end")
	require.Zero(t, r.count(`SELECT count(*) FROM fanmail.events WHERE tenant_id = $1`, tenant))
}
