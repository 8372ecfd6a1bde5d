package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The outbox rows of a tenant's events, in the order in which fan-out locks them.
const outboxRowsOf = ` FROM (
	SELECT $1::uuid AS tenant_id, seq, event_id FROM unnest($2::bigint[], $3::uuid[]) AS s (seq, event_id) ORDER BY seq
) AS u CROSS JOIN LATERAL (` + rowOfKey

const (
	lockOutboxRows   = `SELECT count(*) FROM (SELECT o.at` + outboxRowsOf + ` FOR UPDATE) AS o) AS locked`
	deleteOutboxRows = `DELETE FROM fanmail.outbox WHERE ctid = ANY (ARRAY(SELECT o.at` + outboxRowsOf + `) AS o WHERE o.event_id = u.event_id))`
	deleteEvents     = `DELETE FROM fanmail.events AS e USING unnest($2::uuid[], $3::timestamptz[]) AS u (id, created_at)
	WHERE e.id = u.id AND e.created_at = u.created_at AND e.tenant_id = $1`
)

// Forget deletes the outbox rows of events of a tenant, and returns how many there were. A fan-out that holds one has
// committed its deliveries when Forget returns, and none makes deliveries afterwards. Delete these deliveries in a later
// statement of tx, and the events with [EraseEvents].
func Forget(ctx context.Context, tx pgx.Tx, tenant events.TenantID, list []events.Record) (int64, error) {
	seqs, ids := make([]int64, len(list)), make([]events.ID, len(list))
	for i := range list {
		seqs[i], ids[i] = max(list[i].Seq, -list[i].Seq), list[i].ID
	}
	// A row that is leased again while it is waited for has moved. The second statement sees where it lies.
	if _, err := tx.Exec(ctx, lockOutboxRows, tenant, seqs, ids); err != nil {
		return 0, fmt.Errorf("lock outbox rows: %w", err)
	}
	tag, err := tx.Exec(ctx, deleteOutboxRows, tenant, seqs, ids)
	if err != nil {
		return 0, fmt.Errorf("delete outbox rows: %w", err)
	}
	return tag.RowsAffected(), nil
}

// EraseEvents deletes events of a tenant from the log, and returns how many there were. It leaves their idempotency keys,
// so that no producer inserts one of them again.
func EraseEvents(ctx context.Context, tx pg.DB, tenant events.TenantID, ids []events.ID, created []time.Time) (int64, error) {
	tag, err := tx.Exec(ctx, deleteEvents, tenant, ids, created)
	if err != nil {
		return 0, fmt.Errorf("delete events: %w", err)
	}
	return tag.RowsAffected(), nil
}

// EraseKeys deletes the idempotency keys of events, and returns how many there were.
func EraseKeys(ctx context.Context, tx pg.DB, ids []events.ID, created []time.Time) (int64, error) {
	// A range of buckets would read all keys of these buckets for each event.
	tag, err := tx.Exec(ctx, `DELETE FROM fanmail.event_keys AS k USING (
			SELECT id, fanmail.bucket(created_at) + d AS bucket FROM unnest($1::uuid[], $2::timestamptz[]) AS e (id, created_at) CROSS JOIN generate_series(-1, 1) AS d
		) AS u WHERE k.bucket = u.bucket AND k.event_id = u.id`, ids, created)
	if err != nil {
		return 0, fmt.Errorf("delete idempotency keys of events: %w", err)
	}
	return tag.RowsAffected(), nil
}

// TenantRows are what is left of a tenant in the tables of this package after [EraseEvents].
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteOfTenant("fanmail.outbox", "tenant_id", "seq"),
		pg.DeleteOfTenant("fanmail.events", "id", "created_at"),
		pg.DeleteOfTenant("fanmail.strict_tenants", "tenant_id"),
	}
}
