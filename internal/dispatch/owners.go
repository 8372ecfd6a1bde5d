package dispatch

import (
	"context"
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Owners returns how many dispatchers are alive, and how many partitions have had
// no owner for ten seconds or more.
func Owners(ctx context.Context, db pg.DB) (alive, unowned int, err error) {
	err = db.QueryRow(ctx, `SELECT (SELECT count(*) FROM fanmail.dispatchers WHERE alive_until > now()),
		(SELECT count(*) FROM fanmail.partition_owners WHERE owner IS NULL OR leased_until < now() - interval '10 seconds')`).Scan(&alive, &unowned)
	if err != nil {
		return 0, 0, fmt.Errorf("count dispatchers: %w", err)
	}
	return alive, unowned, nil
}
