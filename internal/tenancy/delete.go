package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Delete marks a tenant as deleted: its keys, links and members are refused. It changes nothing of one that is marked
// already. Without such a tenant it returns [pgx.ErrNoRows].
func Delete(ctx context.Context, db DB, id events.TenantID) (Tenant, error) {
	return mark(ctx, db, id, `coalesce(deleted_at, now())`)
}

// Restore takes the mark away.
func Restore(ctx context.Context, db DB, id events.TenantID) (Tenant, error) {
	return mark(ctx, db, id, `NULL`)
}

func mark(ctx context.Context, db DB, id events.TenantID, to string) (Tenant, error) {
	rows, err := db.Query(ctx, `UPDATE fanmail.tenants SET deleted_at = `+to+` WHERE id = $1 RETURNING `+tenantColumns, id)
	if err != nil {
		return Tenant{}, fmt.Errorf("mark a tenant: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if err != nil {
		return Tenant{}, fmt.Errorf("mark a tenant: %w", err)
	}
	return t, nil
}

const deletedAt = `SELECT deleted_at FROM fanmail.tenants WHERE id = $1`

// InUse returns an [*events.DeletedTenantError] if a tenant is deleted. Until tx ends it is not deleted.
func InUse(ctx context.Context, tx DB, id events.TenantID) error {
	return inUse(ctx, tx, deletedAt+` FOR SHARE`, id)
}

// CheckInUse is [InUse] for a caller without a transaction: the tenant may be deleted at any time afterwards.
func CheckInUse(ctx context.Context, db DB, id events.TenantID) error {
	return inUse(ctx, db, deletedAt, id)
}

func inUse(ctx context.Context, db DB, statement string, id events.TenantID) error {
	var at *time.Time
	err := db.QueryRow(ctx, statement, id).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look up a tenant: %w", err)
	}
	if at != nil {
		return &events.DeletedTenantError{TenantID: id, At: *at}
	}
	return nil
}

// Hold locks the row of a tenant until tx ends, so that no row that refers to it can be inserted. It reports whether
// there is such a tenant.
func Hold(ctx context.Context, tx DB, id events.TenantID) (bool, error) {
	err := tx.QueryRow(ctx, `SELECT id FROM fanmail.tenants WHERE id = $1 FOR UPDATE`, id).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock a tenant: %w", err)
	}
	return true, nil
}

// TenantRows are what a tenant has in the tables of this package. The tenant itself is the last.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteOfTenant("fanmail.portal_links", "id"),
		pg.DeleteOfTenant("fanmail.api_keys", "id"),
		pg.DeleteOfTenant("fanmail.tenant_quotas", "tenant_id"),
		pg.DeleteWhere("fanmail.tenants", "id = $1", "id").Afterwards(),
	}
}
