package erasure

import (
	"context"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// writersEvery is at least how long it takes until it is looked again whether they have ended.
const writersEvery = time.Second

// running are the transactions of this database that run now, other than this one: by their virtual id, and by their id
// if they have written something. The second stays if the transaction is prepared. Every role sees them.
const running = `
SELECT coalesce(l.virtualxid, l.transactionid::text) AS id FROM pg_catalog.pg_locks AS l
WHERE l.locktype IN ('virtualxid', 'transactionid') AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND (l.pid IN (SELECT a.pid FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = pg_catalog.current_database())
    OR l.transactionid IN (SELECT p.transaction FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = pg_catalog.current_database()))`

// awaitWriters reports whether a transaction still runs that may insert events of the tenant. Those that begin after the
// tenant was closed are refused; one that began before may be a program's, and commit hours later. The first call of an
// erasure must come after the commit of [outbox.Close].
func (w *work) awaitWriters(ctx context.Context, tx pg.DB) (waits bool, err error) {
	if w.writers == nil {
		w.writers = []string{}
		err = tx.QueryRow(ctx, `SELECT coalesce(array_agg(id), '{}') FROM (`+running+`) AS r`).Scan(&w.writers)
	} else {
		err = tx.QueryRow(ctx, `SELECT coalesce(array_agg(id), '{}') FROM (`+running+`) AS r WHERE id = ANY ($1)`, w.writers).Scan(&w.writers)
	}
	if err != nil {
		return false, fmt.Errorf("look for transactions that may write rows of the tenant: %w", err)
	}
	return len(w.writers) > 0, nil
}
