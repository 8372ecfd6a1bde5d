package console

import "github.com/fanmail-dev/fanmail/internal/pg"

// TenantRows are the sessions of a tenant's members, and those of operators who look at it. A session of a key ends with
// the key.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteOfTenant("fanmail.console_sessions", "token_hash"),
		{Table: "console_sessions", Statement: `UPDATE fanmail.console_sessions SET viewed_tenant_id = NULL
			WHERE token_hash = ANY (ARRAY(SELECT token_hash FROM fanmail.console_sessions WHERE viewed_tenant_id = $1 LIMIT $2))`, Uncounted: true},
	}
}
