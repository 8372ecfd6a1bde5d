package app

import (
	"context"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/api"
	"github.com/fanmail-dev/fanmail/deploy/migrations"
)

// Migrate waits for the database, brings its schema up to date and gives the
// version that it then has.
func Migrate(ctx context.Context, c Database, log *zap.Logger) (int64, error) {
	c.Migrate = true
	if err := c.validate(); err != nil {
		return 0, err
	}
	pool, err := connectDatabase(ctx, c, "migrate", nil, log)
	if err != nil {
		return 0, err
	}
	pool.Close()
	return migrations.Version()
}

// NewOperatorKey makes an operator's key in the database and gives its secret,
// which is stored nowhere else.
func NewOperatorKey(ctx context.Context, c Database, log *zap.Logger) (string, error) {
	if err := c.validate(); err != nil {
		return "", err
	}
	pool, err := connectDatabase(ctx, c, "keys", nil, log)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return api.BootstrapOperatorKey(ctx, pool)
}
