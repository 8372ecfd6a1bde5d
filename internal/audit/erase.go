package audit

import "github.com/fanmail-dev/fanmail/internal/pg"

// An object that is no id, such as evt_0123…, is a name that the tenant has chosen: an address, a domain, an event type.
const named = `object NOT IN ('', '(erased)') AND object !~ '^[a-z]+_[0-9a-f]{32}$'`

// TenantRows take out of a tenant's entries what was changed, and names. Who changed something, and when, stays.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{{Table: "audit_log", Statement: `
UPDATE fanmail.audit_log AS a SET before = NULL, after = NULL, object = CASE WHEN old.named THEN '(erased)' ELSE a.object END
FROM (SELECT id, created_at, ` + named + ` AS named FROM fanmail.audit_log
	WHERE tenant_id = $1 AND (before IS NOT NULL OR after IS NOT NULL OR ` + named + `) LIMIT $2) AS old
WHERE a.id = old.id AND a.created_at = old.created_at`}}
}
