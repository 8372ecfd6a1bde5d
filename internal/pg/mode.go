package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TxDB is a [DB] that can begin a transaction.
type TxDB interface {
	DB
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Typed returns the pool as a database on which Postgres tells the types of the
// parameters, in transactions too. In the modes exec and simple_protocol pgx guesses
// them from the Go types, and it can't guess those of ids and named strings. Batches
// keep the pool's mode.
func Typed(pool *pgxpool.Pool) TxDB {
	cfg := pool.Config().ConnConfig
	if !guesses(cfg.DefaultQueryExecMode) {
		return pool
	}
	if cfg.DescriptionCacheCapacity == 0 {
		return typedDB{pool, pgx.QueryExecModeDescribeExec}
	}
	return typedDB{pool, pgx.QueryExecModeCacheDescribe}
}

// guesses reports whether pgx guesses the types of parameters in the mode.
func guesses(mode pgx.QueryExecMode) bool {
	return mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol
}

type typedDB struct {
	TxDB
	mode pgx.QueryExecMode
}

func (d typedDB) with(args []any) []any { return append([]any{d.mode}, args...) }

func (d typedDB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return d.TxDB.Exec(ctx, sql, d.with(args)...)
}

func (d typedDB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return d.TxDB.Query(ctx, sql, d.with(args)...)
}

func (d typedDB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return d.TxDB.QueryRow(ctx, sql, d.with(args)...)
}

func (d typedDB) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := d.TxDB.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return typedTx{Tx: tx, db: typedDB{tx, d.mode}}, nil
}

type typedTx struct {
	pgx.Tx
	db typedDB
}

func (t typedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.db.Exec(ctx, sql, args...)
}

func (t typedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.db.Query(ctx, sql, args...)
}

func (t typedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.db.QueryRow(ctx, sql, args...)
}

func (t typedTx) Begin(ctx context.Context) (pgx.Tx, error) { return t.db.Begin(ctx) }
