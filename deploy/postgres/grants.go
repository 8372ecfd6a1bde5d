package postgres

import (
	"context"
	_ "embed" // the SQL
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Roles is the SQL that makes the roles; an administrator runs it.
//
//go:embed roles.sql
var Roles string

//go:embed grants.sql
var grants string

// Grant gives the processes' roles their rights, all at once or not at all. The
// pool's user must own the tables, and the roles must exist.
func Grant(ctx context.Context, pool *pgxpool.Pool) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, grants)
		return err
	})
	if err != nil {
		return fmt.Errorf("give the roles of deploy/postgres/roles.sql their rights: %w", err)
	}
	return nil
}
