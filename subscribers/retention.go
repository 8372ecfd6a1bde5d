package subscribers

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Retained is what a round of retention did.
type Retained struct {
	Dropped int   // day partitions
	Expired int64 // pending deliveries that became failed
}

// logTables are the day-partitioned tables, the deliveries first: an event
// goes after its deliveries.
var logTables = []string{"webhook_subscriber_deliveries", "webhook_delivery_attempts", "messages", "message_raws", "events"}

// Retain ends what is older than [Retention]: a pending delivery becomes
// failed with the reason "expired", and a day past that its partition is
// dropped, so that the failure can be seen for a day. Partitions are detached
// without stopping writers, and then dropped; a waiting lock gives up after a
// second and the next round tries again. It also forgets rotated secrets past
// their grace and dispatchers that are gone.
func Retain(ctx context.Context, pool *pgxpool.Pool) (Retained, error) {
	var r Retained
	for _, statement := range []string{
		`UPDATE fanmail.webhooks SET signing_secret_prev = NULL, signing_secret_prev_until = NULL WHERE signing_secret_prev_until <= now()`,
		`DELETE FROM fanmail.dispatchers WHERE alive_until < now() - interval '1 hour'`,
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return r, fmt.Errorf("forget what has expired: %w", err)
		}
	}
	for {
		// In pieces, so that no transaction holds many rows for long.
		tag, err := pool.Exec(ctx, `
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
      WHERE status = 'pending' AND created_at < now() - make_interval(secs => $1) LIMIT 5000 FOR UPDATE SKIP LOCKED) AS old
WHERE d.id = old.id AND d.created_at = old.created_at`, Retention.Seconds())
		if err != nil {
			return r, fmt.Errorf("expire pending deliveries: %w", err)
		}
		r.Expired += tag.RowsAffected()
		if tag.RowsAffected() == 0 {
			break
		}
	}
	for _, table := range logTables {
		n, err := dropDays(ctx, pool, table)
		r.Dropped += n
		if err != nil {
			return r, err
		}
	}
	return r, dropBuckets(ctx, pool)
}

func dropDays(ctx context.Context, pool *pgxpool.Pool, table string) (int, error) {
	if table != "webhook_subscriber_deliveries" {
		return pg.DropDays(ctx, pool, table, Retention, nil)
	}
	return pg.DropDays(ctx, pool, table, Retention, func(name string) (pending bool, err error) {
		err = pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+pgx.Identifier{"fanmail", name}.Sanitize()+` WHERE status = 'pending')`).Scan(&pending)
		if err != nil {
			return true, fmt.Errorf("look for pending deliveries in %s: %w", name, err)
		}
		return pending, nil // never dropped in silence; the next round expires it
	})
}

// bucketTables are partitioned by buckets of 30 days, of which the present one
// and the one before are looked at.
var bucketTables = []string{"event_keys", "conversation_keys"}

// dropBuckets drops the buckets that nobody looks at.
func dropBuckets(ctx context.Context, pool *pgxpool.Pool) error {
	var present int
	if err := pool.QueryRow(ctx, `SELECT floor(extract(epoch FROM now()) / 2592000)::integer`).Scan(&present); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	for _, table := range bucketTables {
		names, err := pg.Partitions(ctx, pool, table)
		if err != nil {
			return err
		}
		for _, name := range names {
			bucket, err := strconv.Atoi(strings.TrimPrefix(name, table+"_"))
			if err != nil || bucket >= present-1 {
				continue
			}
			if err := pg.DropPartition(ctx, pool, table, name); err != nil {
				return err
			}
		}
	}
	return nil
}
