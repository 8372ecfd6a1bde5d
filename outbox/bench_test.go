package outbox_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func BenchmarkInsertMany100(b *testing.B) {
	ctx := context.Background()
	pool := pgtest.Pool(b)
	ten := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'bench')`, ten)
	require.NoError(b, err)
	evs := make([]events.Event, 100)
	for i := range evs {
		evs[i] = events.Event{TenantID: ten, Type: events.EmailReceived, AgentID: "a@example.com", Data: json.RawMessage(`{"text":"` + strings.Repeat("x", 2000) + `"}`)}
	}
	wal := func() (n int64) {
		require.NoError(b, pool.QueryRow(ctx, `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn`).Scan(&n))
		return n
	}
	before := wal()
	b.ResetTimer()
	for b.Loop() {
		require.NoError(b, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := outbox.InsertMany(ctx, tx, evs)
			return err
		}))
	}
	b.ReportMetric(float64(wal()-before)/float64(b.N*len(evs)), "WAL-B/event")
}
