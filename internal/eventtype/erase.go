package eventtype

import "github.com/fanmail-dev/fanmail/internal/pg"

// TenantRows are a tenant's own types.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{pg.DeleteOfTenant("fanmail.event_types", "tenant_id", "name")}
}
