package opevents

import "github.com/fanmail-dev/fanmail/internal/pg"

// TenantRows are the facts and mails that wait for a tenant.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteOfTenant("fanmail.operational_events", "id"),
		pg.DeleteOfTenant("fanmail.alert_mails", "webhook_id"),
	}
}
