package pg

import (
	"context"
	"fmt"
	"strings"
)

// TenantRows is how the owner of a table deletes all rows of a tenant.
type TenantRows struct {
	// Table is named without its schema. Several statements may be for one table.
	Table string
	// Statement deletes or changes up to $2 rows of the tenant $1, and affects none once it is done.
	Statement string
	// Late: the rows stay until those of all other tables are gone, and some minutes longer.
	Late bool
	// Uncounted: the rows are none that were removed, or another statement removes and counts them.
	Uncounted bool
}

// DeleteOfTenant deletes rows of a table, which is named with its schema, by its key.
func DeleteOfTenant(table string, key ...string) TenantRows {
	return DeleteWhere(table, `tenant_id = $1`, key...)
}

// DeleteWhere is [DeleteOfTenant] for a table that has no column tenant_id, or no index on it alone.
func DeleteWhere(table, condition string, key ...string) TenantRows {
	of := func(alias string) string { return "(" + alias + strings.Join(key, ", "+alias) + ")" }
	_, name, _ := strings.Cut(table, ".")
	return TenantRows{Table: name, Statement: `DELETE FROM ` + table + ` AS t USING (SELECT ` + strings.Join(key, ", ") + ` FROM ` + table + ` WHERE ` + condition + ` LIMIT $2) AS old
		WHERE ` + of("t.") + ` = ` + of("old.")}
}

// Afterwards returns the rows with Late set.
func (r TenantRows) Afterwards() TenantRows { r.Late = true; return r }

// Delete runs the statement once, and returns how many rows it has deleted.
func (r TenantRows) Delete(ctx context.Context, tx DB, tenant any, limit int) (int64, error) {
	tag, err := tx.Exec(ctx, r.Statement, tenant, limit)
	if err != nil {
		return 0, fmt.Errorf("delete the rows of a tenant in %s: %w", r.Table, err)
	}
	return tag.RowsAffected(), nil
}
