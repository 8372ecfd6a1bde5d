package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const refuseClosed = `SELECT fanmail.refuse_tenant(tenant_id) FROM fanmail.closed_tenants WHERE tenant_id = ANY($1::uuid[])`

// codeClosed is the SQLSTATE of fanmail.refuse_tenant.
const codeClosed = "FM001"

// refused turns the database's refusal of a deleted tenant into an [*events.DeletedTenantError].
func refused(err error) error {
	if from, ok := errors.AsType[*pgconn.PgError](err); ok && from.Code == codeClosed {
		var id events.TenantID
		if id.Scan(from.Detail) == nil {
			return &events.DeletedTenantError{TenantID: id}
		}
	}
	return err
}

// Close refuses events of a deleted tenant from the commit of tx on, also when the tenant has been erased. It may be
// called again. A transaction that inserted events of it before, or has an older snapshot, may still commit them.
func Close(ctx context.Context, tx pg.DB, tenant events.TenantID) error {
	if _, err := tx.Exec(ctx, `INSERT INTO fanmail.closed_tenants (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING`, tenant); err != nil {
		return fmt.Errorf("close a tenant for events: %w", err)
	}
	return nil
}

// Reopen takes events of a tenant again.
func Reopen(ctx context.Context, tx pg.DB, tenant events.TenantID) error {
	if _, err := tx.Exec(ctx, `DELETE FROM fanmail.closed_tenants WHERE tenant_id = $1`, tenant); err != nil {
		return fmt.Errorf("open a tenant for events: %w", err)
	}
	return nil
}

const closedOf = `SELECT tenant_id FROM fanmail.closed_tenants WHERE tenant_id = ANY($1::uuid[])`

// Closed returns those of the tenants that are deleted, or were and have been erased.
func Closed(ctx context.Context, db pg.DB, tenants []events.TenantID) (map[events.TenantID]bool, error) {
	rows, err := db.Query(ctx, closedOf, tenants)
	if err != nil {
		return nil, fmt.Errorf("look for deleted tenants: %w", err)
	}
	closed := map[events.TenantID]bool{}
	var id events.TenantID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { closed[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look for deleted tenants: %w", err)
	}
	return closed, nil
}
