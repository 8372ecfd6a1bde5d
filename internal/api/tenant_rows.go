package api

import (
	"slices"

	"github.com/fanmail-dev/fanmail/internal/audit"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// TenantRows are what a tenant has in the tables that only the API writes.
func TenantRows() []pg.TenantRows {
	return slices.Concat(audit.TenantRows(), []pg.TenantRows{pg.DeleteOfTenant("fanmail.idempotency_keys", "tenant_id", "key")})
}
