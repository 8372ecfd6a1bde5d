package retention

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Rule says what of one table is past its retention. Make one with [Days],
// [Buckets] or [Rows].
type Rule struct {
	// Name says what the rule does, for errors and [Report.Rows].
	Name string
	run  func(ctx context.Context, pool *pgxpool.Pool) (dropped int, rows int64, err error)
}

// Needed reports whether a partition, named without its schema, must stay.
type Needed func(ctx context.Context, db pg.DB, partition string) (bool, error)

// Days is the rule of a table that is partitioned by day: a row is kept for keep,
// and its partition is dropped a day after its last row is that old. A partition
// stays while needed says so; needed may be nil. table is named without its
// schema.
func Days(table string, keep time.Duration, needed Needed) Rule {
	return Rule{Name: "drop days of " + table, run: func(ctx context.Context, pool *pgxpool.Pool) (int, int64, error) {
		var stays func(string) (bool, error)
		if needed != nil {
			stays = func(partition string) (bool, error) { return needed(ctx, pool, partition) }
		}
		dropped, err := pg.DropDays(ctx, pool, table, keep, stays)
		return dropped, 0, err
	}}
}

// Buckets is the rule of a table that is partitioned by the buckets of the SQL
// function fanmail.bucket: the present bucket and the one before are kept.
func Buckets(table string) Rule {
	return Rule{Name: "drop buckets of " + table, run: func(ctx context.Context, pool *pgxpool.Pool) (int, int64, error) {
		dropped, err := dropBuckets(ctx, pool, table)
		return dropped, 0, err
	}}
}

// Rows is a rule that deletes or changes single rows. The statement runs again and
// again until it affects no row: bound it by a LIMIT, so that no transaction holds
// many row locks for long.
func Rows(name, statement string, args ...any) Rule {
	return Rule{Name: name, run: func(ctx context.Context, pool *pgxpool.Pool) (int, int64, error) {
		var rows int64
		for {
			tag, err := pool.Exec(ctx, statement, args...)
			rows += tag.RowsAffected()
			if err != nil || tag.RowsAffected() == 0 {
				return 0, rows, err
			}
		}
	}}
}

// Counted returns the rule with a callback that is told how many rows each run
// affected, if any.
func (r Rule) Counted(f func(rows int64)) Rule {
	run := r.run
	r.run = func(ctx context.Context, pool *pgxpool.Pool) (int, int64, error) {
		dropped, rows, err := run(ctx, pool)
		if rows > 0 {
			f(rows)
		}
		return dropped, rows, err
	}
	return r
}

// Report is the result of [Run]. It is also right if Run fails.
type Report struct {
	// Dropped counts the partitions dropped.
	Dropped int
	// Rows counts the rows affected by each rule made by [Rows], by its name; a rule
	// that affected none is absent.
	Rows map[string]int64
}

// Run applies the rules in their order. It applies all of them, and returns the
// errors of those that failed.
func Run(ctx context.Context, pool *pgxpool.Pool, rules []Rule) (Report, error) {
	report := Report{Rows: map[string]int64{}}
	var failed []error
	for _, r := range rules {
		dropped, rows, err := r.run(ctx, pool)
		report.Dropped += dropped
		if rows > 0 {
			report.Rows[r.Name] += rows
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	return report, errors.Join(failed...)
}

func dropBuckets(ctx context.Context, pool *pgxpool.Pool, table string) (int, error) {
	var present int
	if err := pool.QueryRow(ctx, `SELECT fanmail.bucket(now())`).Scan(&present); err != nil {
		return 0, fmt.Errorf("read the present bucket: %w", err)
	}
	names, err := pg.Partitions(ctx, pool, table)
	if err != nil {
		return 0, err
	}
	dropped := 0
	for _, name := range names {
		bucket, err := strconv.Atoi(strings.TrimPrefix(name, table+"_"))
		if err != nil || bucket >= present-1 {
			continue
		}
		if err := pg.DropPartition(ctx, pool, table, name); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}
