package migrations

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RightsError says that a role lacks the rights of the owner of Fanmail's tables.
type RightsError struct{ Role, Owner string }

// Error names the role and the statement that helps.
func (e *RightsError) Error() string {
	return fmt.Sprintf("the role %q does not own the tables of the schema fanmail, but creating and dropping partitions takes the owner's rights: connect as %q, or run GRANT %s TO %s",
		e.Role, e.Owner, pgx.Identifier{e.Owner}.Sanitize(), pgx.Identifier{e.Role}.Sanitize())
}

// CheckRights returns a [*RightsError] if the current role may not maintain the
// tables. The schema must exist.
func CheckRights(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) error {
	var e RightsError
	var owns bool
	err := db.QueryRow(ctx, `SELECT current_user::text, pg_get_userbyid(relowner)::text, pg_has_role(relowner, 'USAGE')
		FROM pg_class WHERE oid = to_regclass('fanmail.goose_db_version')`).Scan(&e.Role, &e.Owner, &owns)
	if err != nil {
		return fmt.Errorf("read the rights on the schema fanmail: %w", err)
	}
	if !owns {
		return &e
	}
	return nil
}
