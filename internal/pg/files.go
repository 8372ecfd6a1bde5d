package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// FollowFiles makes each new connection read the files in its connection string again
// (sslrootcert, sslcert, sslkey, passfile). Thus certificates and passwords can be replaced
// while the process runs. An invalid file fails only the connections that are opened
// meanwhile. pgx closes a connection after an hour, and with it ends the use of old files.
// Do not use it for a pool that a program has configured: the string replaces the
// password and the TLS configuration that the program has set.
func FollowFiles(cfg *pgxpool.Config) {
	source := secret.Text(cfg.ConnString())
	before := cfg.BeforeConnect
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		cfg, err := Parse(source)
		if err != nil {
			return fmt.Errorf("read the connection's certificates: the database URL %w", err)
		}
		now := cfg.ConnConfig
		c.TLSConfig, c.Fallbacks, c.Password = now.TLSConfig, now.Fallbacks, now.Password
		if before != nil {
			return before(ctx, c)
		}
		return nil
	}
}
