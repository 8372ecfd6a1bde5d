package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// followFiles makes each new connection read the files that its connection
// string names anew (sslrootcert, sslcert, sslkey, passfile), so that
// certificates and passwords can be replaced under a running process. A file
// that is broken just then fails that connection and is read again for the next.
// Connections live for an hour at most, so an old certificate is out of use by then.
func followFiles(cfg *pgxpool.Config) {
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
