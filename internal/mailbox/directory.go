package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// addressPage is how many addresses [AddressesAfter] returns at most.
const addressPage = 1000

// AddressesAfter returns a page of the addresses of all agents of all tenants, in order,
// that come after an address; none at the end.
func AddressesAfter(ctx context.Context, db pg.DB, after string) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT address FROM fanmail.agents WHERE address > $1 ORDER BY address LIMIT $2`, after, addressPage)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return list, nil
}

// ChangedAddresses returns the addresses of agents that were created or deleted since a
// time, and whether each receives now. It also returns the database's time.
func ChangedAddresses(ctx context.Context, db pg.DB, since time.Time) (receives map[string]bool, now time.Time, err error) {
	receives = make(map[string]bool)
	if err = db.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return nil, now, fmt.Errorf("read the database's time: %w", err)
	}
	rows, err := db.Query(ctx, `SELECT name, EXISTS (SELECT 1 FROM fanmail.agents WHERE address = name OFFSET 0)
		FROM (SELECT address FROM fanmail.agents WHERE created_at > $1
			UNION SELECT name FROM fanmail.released_names WHERE released_at > $1 AND name LIKE '%@%') changed (name)`, since)
	if err != nil {
		return nil, now, fmt.Errorf("list changed addresses: %w", err)
	}
	var name string
	var exists bool
	_, err = pgx.ForEachRow(rows, []any{&name, &exists}, func() error {
		receives[name] = exists
		return nil
	})
	if err != nil {
		return nil, now, fmt.Errorf("list changed addresses: %w", err)
	}
	return receives, now, nil
}
