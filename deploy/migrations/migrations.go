package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/fanmail-dev/fanmail/crash"
)

//go:embed *.sql
var files embed.FS

// Ahead is how many days of partitions are kept ready beyond today.
const Ahead = 7

// Version is the newest migration embedded in this build.
func Version() (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("no embedded migrations: %w", err)
	}
	return goose.NumericComponent(names[len(names)-1]) // Glob sorts
}

// SchemaError says that the database's schema does not fit the binary.
type SchemaError struct {
	Have, Want int64
}

// Error says what to do.
func (e *SchemaError) Error() string {
	if e.Have > e.Want {
		return fmt.Sprintf("the database has schema version %d, newer than this binary's %d: run a newer Fanmail against it", e.Have, e.Want)
	}
	return fmt.Sprintf("the database has schema version %d, this binary needs %d: run `fanmail migrate`, or set FANMAIL_MIGRATE=true", e.Have, e.Want)
}

// Up applies the migrations that the database lacks, and makes sure that the
// coming days have partitions. It returns a [*SchemaError] where the database
// is newer than the binary.
func Up(ctx context.Context, pool *pgxpool.Pool) error {
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	p, err := provider(db)
	if err != nil {
		return err
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	want, err := Version()
	if err != nil {
		return err
	}
	if have > want {
		return &SchemaError{Have: have, Want: want}
	}
	if have < want {
		crash.At(crash.MigrateBegun)
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		crash.At(crash.MigrateApplied)
	}
	return MakePartitions(ctx, pool)
}

// Check returns a [*SchemaError] unless the database's schema is the one that
// this build was written for.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	want, err := Version()
	if err != nil {
		return err
	}
	var have int64
	err = pool.QueryRow(ctx, `SELECT CASE WHEN to_regclass('goose_db_version') IS NULL THEN 0 ELSE 1 END`).Scan(&have)
	if err == nil && have == 1 {
		err = pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	}
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if have != want {
		return &SchemaError{Have: have, Want: want}
	}
	return nil
}

// MakePartitions makes the day partitions from yesterday to [Ahead] days ahead
// that are missing.
func MakePartitions(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `SELECT fanmail_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, $1)`, Ahead+2)
	if err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
	if err != nil {
		return nil, fmt.Errorf("migration lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}
