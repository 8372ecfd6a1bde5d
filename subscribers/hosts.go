package subscribers

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Hosts returns up to limit distinct authorities (host and port) of the URLs of
// enabled webhooks, of all tenants.
func Hosts(ctx context.Context, db pg.DB, limit int) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT DISTINCT coalesce(substring(url FROM '^[a-z]+://([^/?#]+)'), '') FROM fanmail.webhooks
		WHERE deleted_at IS NULL AND enabled AND kind = 'push' LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list the hosts of webhooks: %w", err)
	}
	hosts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the hosts of webhooks: %w", err)
	}
	return hosts, nil
}
