package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is where all of Fanmail's tables live.
const schema = "fanmail"

// Partitions returns the names of a table's partitions in alphabetical order.
func Partitions(ctx context.Context, pool *pgxpool.Pool, table string) ([]string, error) {
	rows, err := pool.Query(ctx, `SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = $1::text::regclass ORDER BY c.relname`, schema+"."+table)
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	return names, nil
}

// DropDays drops day partitions, named <table>_YYYYMMDD, whose youngest possible row became
// older than keep more than a day ago. It keeps those for which needed returns true; needed
// may be nil. It returns the number of dropped partitions, also with an error.
func DropDays(ctx context.Context, pool *pgxpool.Pool, table string, keep time.Duration, needed func(partition string) (bool, error)) (int, error) {
	names, err := Partitions(ctx, pool, table)
	if err != nil {
		return 0, err
	}
	var now time.Time
	if err := pool.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return 0, fmt.Errorf("read the database's clock: %w", err)
	}
	// The youngest rows of a day become older than keep at the end of a later day. Keep the
	// partition for one day more.
	oldest := now.UTC().Truncate(24 * time.Hour).Add(-keep - 24*time.Hour)
	dropped := 0
	for _, name := range names {
		day, err := time.Parse("20060102", strings.TrimPrefix(name, table+"_"))
		if err != nil || !day.Before(oldest) {
			continue
		}
		if needed != nil {
			stays, err := needed(name)
			if err != nil {
				return dropped, err
			}
			if stays {
				continue
			}
		}
		if err := DropPartition(ctx, pool, table, name); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// DropPartition detaches and drops a partition without blocking writers of the other
// partitions.
func DropPartition(ctx context.Context, pool *pgxpool.Pool, table, name string) error {
	parent, child := pgx.Identifier{schema, table}.Sanitize(), pgx.Identifier{schema, name}.Sanitize()
	// CONCURRENTLY takes no lock that blocks writers of the other partitions. If an earlier call
	// was interrupted, FINALIZE ends its detach.
	if _, err := pool.Exec(ctx, `ALTER TABLE `+parent+` DETACH PARTITION `+child+` CONCURRENTLY`); err != nil {
		if _, finish := pool.Exec(ctx, `ALTER TABLE `+parent+` DETACH PARTITION `+child+` FINALIZE`); finish != nil {
			return fmt.Errorf("detach %s: %w", name, err)
		}
	}
	if _, err := pool.Exec(ctx, `DROP TABLE IF EXISTS `+child); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}
