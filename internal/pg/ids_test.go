package pg_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

var queryModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// open opens a pool of one connection with the engine's settings or with pgx's own.
func open(tb testing.TB, url string, engine bool, mode pgx.QueryExecMode) *pgxpool.Pool {
	tb.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(tb, err)
	cfg.MaxConns = 1
	cfg.ConnConfig.DefaultQueryExecMode = mode
	if engine {
		pg.Configure(cfg)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(pool.Close)
	return pool
}

func TestIDsAreUUIDsInEveryPoolAndQueryMode(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.EmptyURL(t)
	for name, engine := range map[string]bool{"engine": true, "foreign": false} {
		for _, mode := range queryModes {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				pool := open(t, url, engine, mode)
				id, got, none := events.NewID(), events.ID{}, events.NewID()
				var present, absent *events.ID
				var text string
				require.NoError(t, pool.QueryRow(ctx, `SELECT $1::uuid, $1::uuid, $1::uuid::text, $2::uuid, $2::uuid`, id, events.ID{}).
					Scan(&got, &present, &text, &none, &absent))
				require.Equal(t, id, got)
				require.Equal(t, &id, present)
				require.Equal(t, pgtype.UUID{Bytes: id, Valid: true}.String(), text)
				require.True(t, none.IsZero(), "NULL is the zero id")
				require.Nil(t, absent)

				var isNull bool
				require.NoError(t, pool.QueryRow(ctx, `SELECT $1::uuid IS NULL`, (*events.ID)(nil)).Scan(&isNull))
				require.True(t, isNull)
				require.Error(t, pool.QueryRow(ctx, `SELECT 'text'`).Scan(&got))
			})
		}
	}
}

func TestArraysOfIDsAndTypesAreArrays(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.EmptyURL(t)
	check := func(pool *pgxpool.Pool) {
		ids := []events.WebhookID{events.NewRandom[events.WebhookKind](), {}, events.NewRandom[events.WebhookKind]()}
		var got []events.WebhookID
		var nulls int
		require.NoError(t, pool.QueryRow(ctx, `SELECT $1::uuid[], (SELECT count(*)::int FROM unnest($1::uuid[]) AS i WHERE i IS NULL)`, ids).Scan(&got, &nulls))
		require.Equal(t, ids, got)
		require.Equal(t, 1, nulls, "the zero id is NULL")
		var types []events.Type
		require.NoError(t, pool.QueryRow(ctx, `SELECT $1::text[]`, events.Catalogue()).Scan(&types))
		require.Equal(t, events.Catalogue(), types)
	}
	for _, mode := range queryModes {
		check(open(t, url, true, mode))
	}
	// In its other modes a foreign pool does not know the types of parameters.
	for _, mode := range queryModes[:3] {
		check(open(t, url, false, mode))
	}
}

func TestIDsAreCopied(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.EmptyURL(t)
	for _, engine := range []bool{true, false} {
		pool := open(t, url, engine, pgx.QueryExecModeCacheStatement)
		_, err := pool.Exec(ctx, `CREATE TEMPORARY TABLE copied (id uuid)`)
		require.NoError(t, err)
		id := events.NewID()
		n, err := pool.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromRows([][]any{{id}, {events.ID{}}}))
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
		var got, null int
		require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE id = $1), count(*) FILTER (WHERE id IS NULL) FROM copied`, id).Scan(&got, &null))
		require.Equal(t, []int{1, 1}, []int{got, null})
	}
}

// types returns the type map of a connection of a pool.
func types(tb testing.TB, pool *pgxpool.Pool) *pgtype.Map {
	tb.Helper()
	c, err := pool.Acquire(context.Background())
	require.NoError(tb, err)
	defer c.Release()
	return c.Conn().TypeMap()
}

func TestTheEnginesPoolsConvertIDsWithoutScanAndValue(t *testing.T) { //nolint:paralleltest // it counts allocations
	m := types(t, open(t, pgtest.EmptyURL(t), true, pgx.QueryExecModeCacheStatement))
	id, buf := events.NewID(), make([]byte, 0, 16)
	var arg any = id
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, err := m.Encode(pgtype.UUIDOID, pgtype.BinaryFormatCode, arg, buf)
		require.NoError(t, err)
	}))
	plan, src := m.PlanScan(pgtype.UUIDOID, pgtype.BinaryFormatCode, &id), make([]byte, 16)
	require.Zero(t, testing.AllocsPerRun(100, func() { require.NoError(t, plan.Scan(src, &id)) }))
	require.True(t, id.IsZero())
	require.EqualError(t, plan.Scan(src[:5], &id), "read an id: a uuid of 5 bytes; it must have 16")
}

// BenchmarkIDs measures the conversion of one id for Postgres and back.
func BenchmarkIDs(b *testing.B) {
	url := pgtest.EmptyURL(b)
	for name, engine := range map[string]bool{"engine": true, "foreign": false} {
		m := types(b, open(b, url, engine, pgx.QueryExecModeCacheStatement))
		id, buf := events.NewID(), make([]byte, 0, 16)
		b.Run(name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Encode(pgtype.UUIDOID, pgtype.BinaryFormatCode, id, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/scan", func(b *testing.B) {
			b.ReportAllocs()
			plan, src := m.PlanScan(pgtype.UUIDOID, pgtype.BinaryFormatCode, &id), id.UUID()
			for b.Loop() {
				if err := plan.Scan(src[:], &id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
