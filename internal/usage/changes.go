package usage

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// CountChange counts a change of a tenant in its transaction. It returns an [*OverError]
// above limit. Other changes of the tenant wait here until the transaction ends, so that
// the count is exact.
func CountChange(ctx context.Context, tx pgx.Tx, tenant events.TenantID, limit int64) error {
	var n int64
	err := tx.QueryRow(ctx, `INSERT INTO fanmail.tenant_usage AS u (tenant_id, day, changes) VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1)
		ON CONFLICT (tenant_id, day) DO UPDATE SET changes = u.changes + 1 WHERE u.changes < $2 RETURNING changes`, tenant, limit).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return &OverError{Quota: ChangesPerDay, Limit: limit}
	}
	if err != nil {
		return fmt.Errorf("count a change: %w", err)
	}
	return nil
}

// Changes returns how many changes of a tenant count on this UTC day.
func Changes(ctx context.Context, db tenancy.DB, tenant events.TenantID) (n int64, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce(sum(changes), 0)::bigint FROM fanmail.tenant_usage
		WHERE tenant_id = $1 AND day = (now() AT TIME ZONE 'UTC')::date`, tenant).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read a tenant's changes: %w", err)
	}
	return n, nil
}
