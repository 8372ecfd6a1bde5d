package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/fanmail-dev/fanmail/internal/faults"
)

// Ahead is how many days of partitions are kept ready beyond today.
const Ahead = 7

const (
	versionTable = "fanmail.goose_db_version"
	// lockID is a number of our own, because the application may use goose too.
	lockID = 0x66616e6d61696c // "fanmail"
)

// Up applies the migrations that the database lacks, and makes sure that the
// coming days have partitions. A newer schema it leaves as it is. It returns a
// [*SchemaError] where this build must not run on it.
func Up(ctx context.Context, pool *pgxpool.Pool) error {
	schema, err := Read(ctx, pool)
	if err != nil {
		return err
	}
	switch {
	case schema.shutOut():
		return schema.Check()
	case schema.Have < schema.Want:
		if err := up(ctx, pool); err != nil {
			return err
		}
	}
	return MakePartitions(ctx, pool)
}

func up(ctx context.Context, pool *pgxpool.Pool) error {
	cfg := pool.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 2, 0, 0
	// A connection pooler in transaction mode knows no prepared statements.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cfg.ConnConfig.DescriptionCacheCapacity = max(cfg.ConnConfig.DescriptionCacheCapacity, 16)
	own, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer own.Close()
	// A lock that ends with its transaction: with a pooler, a session's lock may stay with somebody else's session.
	return pgx.BeginFunc(ctx, own, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(%d)`, lockID)); err != nil {
			return fmt.Errorf("migration lock: %w", err)
		}
		return apply(ctx, own)
	})
}

// apply applies the missing migrations. The caller holds the lock.
func apply(ctx context.Context, pool *pgxpool.Pool) error {
	if err := makeSchema(ctx, pool); err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithTableName(versionTable))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	faults.At(faults.MigrateBegun)
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	faults.At(faults.MigrateApplied)
	return nil
}

// MakePartitions makes the day partitions from yesterday to [Ahead] days ahead
// that are missing.
func MakePartitions(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 1, $1)`, Ahead+2)
	if err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// MakePastPartitions makes the day partitions of the last days, today's included, that are missing: for rows that come
// from elsewhere with their own times.
func MakePastPartitions(ctx context.Context, pool *pgxpool.Pool, days int) error {
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - $1::integer, $1::integer + 1)`, days)
	if err != nil {
		return fmt.Errorf("make partitions of past days: %w", err)
	}
	return nil
}

// makeSchema makes the schema fanmail, in which goose keeps its own table. It
// looks first: CREATE SCHEMA needs a right even where IF NOT EXISTS does nothing.
func makeSchema(ctx context.Context, pool *pgxpool.Pool) error {
	var exists bool
	err := pool.QueryRow(ctx, `SELECT to_regnamespace('fanmail') IS NOT NULL`).Scan(&exists)
	if err == nil && !exists {
		_, err = pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS fanmail`)
	}
	// Another process may make it at the same moment.
	var answer *pgconn.PgError
	if errors.As(err, &answer) && (answer.Code == "42P06" || answer.Code == "23505") { // duplicate_schema, unique_violation
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the schema fanmail: %w", err)
	}
	return nil
}
