package tenancy

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// Get returns a tenant. It returns pgx.ErrNoRows if there is no such tenant.
func Get(ctx context.Context, db DB, id events.TenantID) (Tenant, error) {
	rows, err := db.Query(ctx, `SELECT `+tenantColumns+` FROM fanmail.tenants WHERE id = $1`, id)
	if err != nil {
		return Tenant{}, fmt.Errorf("read a tenant: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if err != nil {
		return Tenant{}, fmt.Errorf("read a tenant: %w", err)
	}
	return t, nil
}

// Both bounds are of the index, which orders by bytes. No character comes after U+10FFFF.
const searchTenants = `SELECT ` + tenantColumns + ` FROM fanmail.tenants
	WHERE lower(name) COLLATE "C" >= lower($1) AND lower(name) COLLATE "C" <= lower($1) || U&'\+10FFFF'
	  AND ($2::uuid IS NULL OR (lower(name) COLLATE "C", id) > (SELECT lower(name) COLLATE "C", id FROM fanmail.tenants WHERE id = $2))
	ORDER BY lower(name) COLLATE "C", id LIMIT $3`

// Search returns up to limit tenants whose names begin with a text, by name. Upper and lower case are equal.
// The list begins after a tenant, or at its start if after is zero. It reads at most the tenants with such a name.
func Search(ctx context.Context, db DB, prefix string, after events.TenantID, limit int) ([]Tenant, error) {
	rows, err := db.Query(ctx, searchTenants, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("search tenants: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanTenant)
	if err != nil {
		return nil, fmt.Errorf("search tenants: %w", err)
	}
	return found, nil
}
