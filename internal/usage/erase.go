package usage

import "github.com/fanmail-dev/fanmail/internal/pg"

// TenantRows are what was counted for a tenant.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{pg.DeleteOfTenant("fanmail.tenant_usage", "tenant_id", "day")}
}
