package dispatch

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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

// Replica is a dispatcher that is alive.
type Replica struct {
	ID         string // as in [events.AskDispatcherPrefix]
	Name       string
	AliveUntil time.Time
}

// Ownership says who owns a partition.
type Ownership struct {
	Partition int
	Owner     string     // the replica's id; "" for none
	Until     *time.Time // the end of the lease; nil for a partition that nobody ever owned
	// Unowned says that it has had no owner for ten seconds or more.
	Unowned bool
}

// mostReplicas bounds the dispatchers that are listed. Only as many as there are partitions own some.
const mostReplicas = 256

// Replicas returns the dispatchers that are alive, by their ids, and the owner of each partition.
func Replicas(ctx context.Context, db pg.DB) (list []Replica, owned []Ownership, err error) {
	rows, err := db.Query(ctx, `SELECT id, name, alive_until FROM fanmail.dispatchers WHERE alive_until > now() ORDER BY id LIMIT $1`, mostReplicas)
	if err != nil {
		return nil, nil, fmt.Errorf("list dispatchers: %w", err)
	}
	var r Replica
	var id [16]byte
	_, err = pgx.ForEachRow(rows, []any{&id, &r.Name, &r.AliveUntil}, func() error {
		r.ID, r.AliveUntil = uuid(id), r.AliveUntil.UTC()
		list = append(list, r)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list dispatchers: %w", err)
	}
	rows, err = db.Query(ctx, `SELECT partition, owner, CASE WHEN isfinite(leased_until) THEN leased_until END,
		owner IS NULL OR leased_until < now() - interval '10 seconds'
		FROM fanmail.partition_owners ORDER BY partition`)
	if err != nil {
		return nil, nil, fmt.Errorf("list partitions: %w", err)
	}
	var o Ownership
	var owner *[16]byte
	_, err = pgx.ForEachRow(rows, []any{&o.Partition, &owner, &o.Until, &o.Unowned}, func() error {
		row := o
		if owner != nil {
			row.Owner = uuid(*owner)
		}
		if row.Until != nil {
			at := row.Until.UTC()
			row.Until = &at
		}
		owned = append(owned, row)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list partitions: %w", err)
	}
	return list, owned, nil
}

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

// uuid is an id of these tables as text.
func uuid(id [16]byte) string { return hex.EncodeToString(id[:]) }
