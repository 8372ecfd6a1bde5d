package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/fanmail-dev/fanmail/internal/faults"
)

//go:embed *.sql
var files embed.FS

// Ahead is how many days of partitions are kept ready beyond today.
const Ahead = 7

// Version is the newest migration embedded in this build.
func Version() (int64, error) {
	all, err := versions()
	if err != nil {
		return 0, err
	}
	return all[len(all)-1], nil
}

// inGo are the migrations that no SQL file can say.
func inGo() []*goose.Migration {
	return []*goose.Migration{
		goose.NewGoMigration(7, &goose.GoFunc{RunDB: failedDeliveries.make}, nil),
	}
}

// versions of the embedded migrations, rising.
func versions() ([]int64, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no embedded migrations: %w", err)
	}
	all := make([]int64, len(names))
	for i, name := range names {
		if all[i], err = goose.NumericComponent(name); err != nil {
			return nil, fmt.Errorf("read the embedded migrations: %w", err)
		}
	}
	for _, m := range inGo() {
		all = append(all, m.Version)
	}
	slices.Sort(all)
	return all, nil
}

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
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	p, err := provider(db)
	if err != nil {
		return err
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
		goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(inGo()...), goose.WithSessionLocker(locker),
		// A number may come after a higher one where branches were merged.
		goose.WithAllowOutofOrder(true))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}
