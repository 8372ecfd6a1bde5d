package dispatch

import (
	"context"
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The statements of one dispatcher, whose id is $1.
const (
	recordAlive = `
INSERT INTO fanmail.dispatchers (id, name, alive_until) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until`
	// A lease that ran out is renewed too, unless somebody else has claimed it.
	renewPartitions = `
UPDATE fanmail.partition_owners SET leased_until = now() + make_interval(secs => $2) WHERE owner = $1 RETURNING partition`
	countAlive = `SELECT count(*), count(*) FILTER (WHERE id < $1), clock_timestamp() FROM fanmail.dispatchers WHERE alive_until > now()`
	claimFree  = `
UPDATE fanmail.partition_owners AS p SET owner = $1, epoch = epoch + 1, leased_until = now() + make_interval(secs => $2)
FROM (
	SELECT partition, leased_until AS former FROM fanmail.partition_owners WHERE owner IS NULL OR leased_until <= now()
	ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED) AS free
WHERE p.partition = free.partition
RETURNING p.partition, CASE WHEN isfinite(free.former) THEN free.former END, now()`
	askOwner = `SELECT EXISTS (SELECT FROM fanmail.partition_owners WHERE owner = $1 AND partition = $2)`
	// A free partition has a finite leased_until if attempts of an owner may still run.
	freed = `
UPDATE fanmail.partition_owners AS p SET owner = NULL,
	leased_until = coalesce((SELECT former FROM unnest($2::smallint[], $3::timestamptz[]) AS f (partition, former) WHERE f.partition = p.partition), '-infinity')
WHERE owner = $1`
	releasePartitions = freed + ` AND partition = ANY($4::smallint[])`
	releaseAll        = `
WITH gone AS (DELETE FROM fanmail.dispatchers WHERE id = $1 OR alive_until < now() - interval '1 hour')` + freed
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
