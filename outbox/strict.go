package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Inserts take these locks in a statement of its own, before they draw sequence
// numbers. The single-tenant form exists because of planning: with an array,
// Postgres plans each execution anew on connections that leave it the choice.
//
// The same statements refuse deleted tenants.
const (
	lockAnyStrict = `SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM
	(SELECT tenant_id AS id FROM fanmail.strict_tenants WHERE tenant_id = ANY($1::uuid[]) ORDER BY tenant_id) AS strict`
	lockStrict    = refuseClosed + ` UNION ALL ` + lockAnyStrict
	lockOneStrict = `SELECT fanmail.refuse_tenant(tenant_id) FROM fanmail.closed_tenants WHERE tenant_id = $1 UNION ALL
	SELECT pg_advisory_xact_lock(hashtextextended(tenant_id::text, 0)) FROM fanmail.strict_tenants WHERE tenant_id = $1`
)

const tryLockStrict = `SELECT tenant_id FROM (
	SELECT tenant_id, pg_try_advisory_xact_lock(hashtextextended(tenant_id::text, 0)) AS locked
	FROM (SELECT tenant_id FROM fanmail.strict_tenants WHERE tenant_id = ANY($1::uuid[]) ORDER BY tenant_id) AS strict
) AS tried WHERE NOT locked UNION ALL ` + closedOf

// QueueLock adds to a batch the statement that takes the locks of those tenants that are strict, as an insert does. It
// waits for the transactions that hold them. If one of the tenants is deleted, the batch fails.
func QueueLock(b *pgx.Batch, tenants []events.TenantID) { b.Queue(lockStrict, tenants) }

// QueueTryLock adds to a batch a statement that takes the locks of those tenants that are strict, as an insert does, and
// puts the tenants whose lock another transaction holds into busy. An insert for one of them would wait. Deleted tenants
// are busy too: an insert for one of them alone is refused.
func QueueTryLock(b *pgx.Batch, tenants []events.TenantID, busy map[events.TenantID]bool) {
	b.Queue(tryLockStrict, tenants).Query(func(rows pgx.Rows) error {
		var tenant events.TenantID
		_, err := pgx.ForEachRow(rows, []any{&tenant}, func() error { busy[tenant] = true; return nil })
		return err
	})
}

const gateLockStrict = `SELECT ` + pg.CloseGate + ` FROM fanmail.strict_tenants
WHERE tenant_id = $1 AND NOT pg_try_advisory_xact_lock(hashtextextended(tenant_id::text, 0))
UNION ALL SELECT ` + pg.CloseGate + ` FROM fanmail.closed_tenants WHERE tenant_id = $1`

// QueueGateLock adds to a batch a statement that takes the lock of the tenant if it is strict. If another transaction
// holds it, or the tenant is deleted, the statement closes the gate of this one; see [pg.GateOpen].
func QueueGateLock(b *pgx.Batch, tenant events.TenantID) { b.Queue(gateLockStrict, tenant) }

// MarkStrict makes the tenant's inserts take its lock from the commit of tx on.
// Call it in the transaction that creates the tenant's first strict webhook. It
// may be called again; nothing removes the mark.
func MarkStrict(ctx context.Context, tx pg.DB, tenant events.TenantID) error {
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.strict_tenants (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING`, tenant)
	if err != nil {
		return fmt.Errorf("mark a tenant as strict: %w", err)
	}
	return nil
}

// Horizon bounds what is known to be in order: of a strict tenant, each event
// with a sequence up to [Horizon.Of] had either been fanned out or was itself
// the first to wait when the horizon was read.
type Horizon struct {
	last   int64
	lowest map[events.TenantID]int64
}

// Of returns the highest sequence of the tenant's events that no earlier event
// of the tenant can precede any more.
func (h *Horizon) Of(tenant events.TenantID) int64 {
	if lowest, waits := h.lowest[tenant]; waits {
		return min(lowest, h.last)
	}
	return h.last
}

// The sequence must be read before the rows, each by a snapshot of its own. An
// event numbered up to the value read here was drawn before the second
// snapshot, and drawn only after every earlier event of its strict tenant had
// committed. So the second snapshot sees those events, waiting or fanned out.
const (
	lastDrawn     = `SELECT last_value FROM fanmail.outbox_seq`
	lowestWaiting = `SELECT t.id, o.seq FROM unnest($1::uuid[]) AS t (id)
	CROSS JOIN LATERAL (SELECT seq FROM fanmail.outbox WHERE tenant_id = t.id ORDER BY tenant_id, seq LIMIT 1) AS o`
)

// QueueHorizon adds the statements that read the horizon of strict tenants to a
// batch. h holds the answer when the batch's results have been read. Each
// statement must see a snapshot of its own, so do not run the batch in a
// repeatable-read transaction.
func QueueHorizon(b *pgx.Batch, tenants []events.TenantID, h *Horizon) {
	h.lowest = make(map[events.TenantID]int64, len(tenants))
	b.Queue(lastDrawn).QueryRow(func(row pgx.Row) error { return row.Scan(&h.last) })
	b.Queue(lowestWaiting, tenants).Query(func(rows pgx.Rows) error {
		var tenant events.TenantID
		var seq int64
		_, err := pgx.ForEachRow(rows, []any{&tenant, &seq}, func() error { h.lowest[tenant] = seq; return nil })
		return err
	})
}
