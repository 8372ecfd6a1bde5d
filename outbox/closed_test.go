package outbox_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestADeletedTenantTakesNoEvents(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	gone, stays := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	require.NoError(t, outbox.Close(ctx, pool, gone))
	require.NoError(t, outbox.Close(ctx, pool, gone), "it may be called again")
	of := func(tenant events.TenantID, key string) events.Event {
		return events.Event{TenantID: tenant, Type: events.EmailSent, Data: json.RawMessage(`{}`), IdempotencyKey: key}
	}
	imported := outbox.Imported{Envelope: []byte(`{}`), Record: events.Record{ID: events.NewID(), TenantID: gone, Type: events.EmailSent, CreatedAt: time.Now()}}
	for name, insert := range map[string]func(tx pgx.Tx) error{
		"alone":      func(tx pgx.Tx) error { _, err := outbox.Insert(ctx, tx, of(gone, "")); return err },
		"with a key": func(tx pgx.Tx) error { _, err := outbox.Insert(ctx, tx, of(gone, "k")); return err },
		"beside another": func(tx pgx.Tx) error {
			_, err := outbox.InsertMany(ctx, tx, []events.Event{of(stays, ""), of(gone, "")})
			return err
		},
		"imported": func(tx pgx.Tx) error { _, err := outbox.Import(ctx, tx, []outbox.Imported{imported}); return err },
	} {
		var refused *events.DeletedTenantError
		require.ErrorAs(t, pgx.BeginFunc(ctx, pool, insert), &refused, name)
		require.Equal(t, gone, refused.TenantID, name)
		require.ErrorContains(t, refused, gone.String()+" was deleted", name)
	}
	one := func(tenant events.TenantID) (busy bool, gate bool) {
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			held, b := map[events.TenantID]bool{}, &pgx.Batch{}
			outbox.QueueTryLock(b, []events.TenantID{stays, tenant}, held)
			outbox.QueueGateLock(b, tenant)
			b.Queue(`SELECT ` + pg.GateOpen).QueryRow(func(row pgx.Row) error { return row.Scan(&gate) })
			require.NoError(t, tx.SendBatch(ctx, b).Close())
			busy = held[tenant]
			return nil
		}))
		return busy, gate
	}
	busy, open := one(gone)
	require.Equal(t, []bool{true, false}, []bool{busy, open}, "a group of mails leaves it alone, and a mail on its own takes the way that is refused")
	b := &pgx.Batch{}
	outbox.QueueLock(b, []events.TenantID{stays, gone})
	require.ErrorContains(t, pool.SendBatch(ctx, b).Close(), "was deleted")
	require.Zero(t, rowsIn(ctx, t, pool, "fanmail.events")+rowsIn(ctx, t, pool, "fanmail.outbox")+rowsIn(ctx, t, pool, "fanmail.event_keys"))

	closed, err := outbox.Closed(ctx, pool, []events.TenantID{stays, gone})
	require.NoError(t, err)
	require.Equal(t, map[events.TenantID]bool{gone: true}, closed)
	require.NoError(t, outbox.Reopen(ctx, pool, gone))
	busy, open = one(gone)
	require.Equal(t, []bool{false, true}, []bool{busy, open})
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { _, err := outbox.Insert(ctx, tx, of(gone, "k")); return err }))
	require.Equal(t, 1, rowsIn(ctx, t, pool, "fanmail.events"))
}

func rowsIn(ctx context.Context, t *testing.T, db pg.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n))
	return n
}

// TestAnInsertLooksUpItsTenantAlone has many deleted tenants, whose ids stay for good, and many strict ones.
func TestAnInsertLooksUpItsTenantAlone(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	rec, pool := pgplan.Open(t, url), pgtest.Open(t, url)
	for _, sql := range []string{
		`INSERT INTO fanmail.closed_tenants SELECT gen_random_uuid() FROM generate_series(1, 20000)`,
		`INSERT INTO fanmail.strict_tenants SELECT gen_random_uuid() FROM generate_series(1, 20000)`,
		`ANALYZE fanmail.closed_tenants, fanmail.strict_tenants`,
	} {
		_, err := pool.Exec(ctx, sql)
		require.NoError(t, err)
	}
	one, two := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	of := func(tenants ...events.TenantID) {
		evs := make([]events.Event, len(tenants))
		for i, id := range tenants {
			evs[i] = events.Event{TenantID: id, Type: events.EmailSent, Data: json.RawMessage(`{}`)}
		}
		require.NoError(t, pgx.BeginFunc(ctx, rec.Pool, func(tx pgx.Tx) error { _, err := outbox.InsertMany(ctx, tx, evs); return err }))
	}
	of(one)
	of(one, two)
	b := &pgx.Batch{}
	outbox.QueueTryLock(b, []events.TenantID{one, two}, map[events.TenantID]bool{})
	outbox.QueueGateLock(b, one)
	require.NoError(t, rec.Pool.SendBatch(ctx, b).Close())
	_, err := outbox.Closed(ctx, rec.Pool, []events.TenantID{one, two})
	require.NoError(t, err)
	for _, text := range []string{
		"fanmail.closed_tenants WHERE tenant_id = $1 UNION", "fanmail.closed_tenants WHERE tenant_id = ANY($1::uuid[]) UNION", "NOT locked UNION",
		"UNION ALL SELECT set_config", "SELECT tenant_id FROM fanmail.closed_tenants WHERE tenant_id = ANY",
	} {
		p := rec.Of(t, text)
		p.Within(t, pgplan.Bound{Indexes: p.Indexes(), Rows: 4, Sorted: 2, Blocks: 20})
	}
}
