package subscribers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
// their grace, old idempotency keys and dispatchers that are gone.
func Retain(ctx context.Context, pool *pgxpool.Pool) (Retained, error) {
	var r Retained
	for _, statement := range []string{
		`UPDATE webhooks SET signing_secret_prev = NULL, signing_secret_prev_until = NULL WHERE signing_secret_prev_until <= now()`,
		`DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'`,
		`DELETE FROM dispatchers WHERE alive_until < now() - interval '1 hour'`,
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return r, fmt.Errorf("forget what has expired: %w", err)
		}
	}
	for {
		// In pieces, so that no transaction holds many rows for long.
		tag, err := pool.Exec(ctx, `
UPDATE webhook_subscriber_deliveries AS d
SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM webhook_subscriber_deliveries
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
	return r, dropKeyBuckets(ctx, pool)
}

func partitionsOf(ctx context.Context, pool *pgxpool.Pool, table string) ([]string, error) {
	rows, err := pool.Query(ctx, `SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = $1::text::regclass ORDER BY c.relname`, table)
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	return names, nil
}

func dropDays(ctx context.Context, pool *pgxpool.Pool, table string) (int, error) {
	names, err := partitionsOf(ctx, pool, table)
	if err != nil {
		return 0, err
	}
	var now time.Time
	if err := pool.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return 0, fmt.Errorf("read the database's clock: %w", err)
	}
	// A day's last rows turn 30 days old at the end of its 31st day; one more
	// day shows what expired.
	oldest := now.UTC().Truncate(24 * time.Hour).Add(-Retention - 24*time.Hour)
	dropped := 0
	for _, name := range names {
		day, err := time.Parse("20060102", strings.TrimPrefix(name, table+"_"))
		if err != nil || !day.Before(oldest) {
			continue
		}
		if table == "webhook_subscriber_deliveries" {
			var pending bool
			err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+pgx.Identifier{name}.Sanitize()+` WHERE status = 'pending')`).Scan(&pending)
			if err != nil || pending {
				continue // never dropped in silence; the next round expires it
			}
		}
		if err := dropPartition(ctx, pool, table, name); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

func dropPartition(ctx context.Context, pool *pgxpool.Pool, table, name string) error {
	parent, child := pgx.Identifier{table}.Sanitize(), pgx.Identifier{name}.Sanitize()
	// CONCURRENTLY takes no lock that writers of the other days would wait for.
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

// dropKeyBuckets drops the buckets of event_keys that no insert looks at.
func dropKeyBuckets(ctx context.Context, pool *pgxpool.Pool) error {
	names, err := partitionsOf(ctx, pool, "event_keys")
	if err != nil {
		return err
	}
	var present int
	if err := pool.QueryRow(ctx, `SELECT floor(extract(epoch FROM now()) / 2592000)::integer`).Scan(&present); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	for _, name := range names {
		var bucket int
		if _, err := fmt.Sscanf(name, "event_keys_%d", &bucket); err != nil || bucket >= present-1 {
			continue
		}
		if err := dropPartition(ctx, pool, "event_keys", name); err != nil {
			return err
		}
	}
	return nil
}
