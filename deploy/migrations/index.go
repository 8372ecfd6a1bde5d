package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// index is one of a partitioned table whose partitions may be large, and be
// written to while it is made. CREATE INDEX would let nobody write until it had
// read them all, and CONCURRENTLY is refused for the table as a whole: so each
// partition gets its own, and the last one completes the table's.
type index struct {
	table, name string
	on          string // columns and condition
}

// failedDeliveries are live deliveries that failed, by when they ended: what
// automatic disabling counts by. A delivery that succeeds never enters it.
var failedDeliveries = index{
	table: "webhook_subscriber_deliveries", name: "webhook_subscriber_deliveries_failed",
	on: `(webhook_id, finished_at DESC) WHERE status = 'failed' AND kind = 'live'`,
}

// Locks that writers would queue behind are given up after briefly; the
// migration fails then, and goes on from there when it is run again.
const (
	briefly = `SET lock_timeout = '5s'`
	// CREATE INDEX CONCURRENTLY waits for transactions and blocks none.
	patiently = `SET lock_timeout = 0`
)

// make makes the index, or what is missing of it.
func (x index) make(ctx context.Context, db *sql.DB) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("index %s: %w", x.name, err)
		}
	}()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_, reset := conn.ExecContext(context.WithoutCancel(ctx), `RESET lock_timeout`)
		err = errors.Join(err, reset, conn.Close())
	}()
	if err := run(ctx, conn, briefly,
		// From now on each new partition comes with it.
		fmt.Sprintf(`CREATE INDEX IF NOT EXISTS %s ON ONLY %s %s`, x.name, x.table, x.on)); err != nil {
		return err
	}
	for {
		p, err := x.next(ctx, conn)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.makeOn(ctx, conn, p); err != nil && !gone(err) {
			return fmt.Errorf("of %s: %w", p.table, err)
		}
	}
}

// partition is one without its part of the index.
type partition struct {
	table string
	part  string // the name that its part gets
	empty bool
	built sql.NullBool // the part is there: false where its making was broken off
}

func (x index) next(ctx context.Context, conn *sql.Conn) (p partition, err error) {
	err = conn.QueryRowContext(ctx, `
		SELECT c.oid::regclass::text, quote_ident(c.relname || right($2, -length($1))), pg_relation_size(c.oid) = 0, own.indisvalid
		FROM pg_inherits AS i
		JOIN pg_class AS c ON c.oid = i.inhrelid
		LEFT JOIN pg_index AS own ON own.indrelid = c.oid AND
			(SELECT relname FROM pg_class WHERE oid = own.indexrelid) = c.relname || right($2, -length($1))
		WHERE i.inhparent = to_regclass($1) AND NOT EXISTS (
			SELECT 1 FROM pg_index AS part JOIN pg_inherits AS attached ON attached.inhrelid = part.indexrelid
			WHERE part.indrelid = c.oid AND attached.inhparent = to_regclass($2))
		ORDER BY c.relname LIMIT 1`, x.table, x.name).Scan(&p.table, &p.part, &p.empty, &p.built)
	return p, err
}

func (x index) makeOn(ctx context.Context, conn *sql.Conn, p partition) error {
	if p.built.Valid && !p.built.Bool {
		if err := run(ctx, conn, patiently, `DROP INDEX CONCURRENTLY `+p.part); err != nil {
			return err
		}
	}
	how, wait := "CONCURRENTLY", patiently
	if p.empty {
		how, wait = "", briefly // nothing to read
	}
	return run(ctx, conn, wait,
		fmt.Sprintf(`CREATE INDEX %s IF NOT EXISTS %s ON %s %s`, how, p.part, p.table, x.on),
		briefly, fmt.Sprintf(`ALTER INDEX %s ATTACH PARTITION %s`, x.name, p.part))
}

func run(ctx context.Context, conn *sql.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// gone says that retention dropped the partition meanwhile.
func gone(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == "42P01" // undefined_table
}
