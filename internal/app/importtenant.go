package app

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// ImportTenant configures the import of a tenant's export.
type ImportTenant struct {
	Database
	Secrets
	Outbound
	Waiting
	Logging
	File        string `arg:"" help:"File that 'fanmail export' has written."`
	Tenant      string `required:"" placeholder:"ID" help:"The tenant (ten_...) here that gets the objects."`
	GiveDomains bool   `help:"Give the tenant the domains that were verified where they come from, as verified ones. Otherwise verify them here first."`
	Quota       bool   `help:"Set the quota of the file too."`
	DryRun      bool   `help:"Check everything and print the report; change nothing."`
}

// ImportTenantFrom imports a tenant's export; see [api.ImportTenant]. It waits for the database.
func ImportTenantFrom(ctx context.Context, c ImportTenant, progress func(done, total int64), log *zap.Logger) (*api.ImportReport, error) {
	if err := firstError(c.Database.validate, c.Secrets.validate, c.Waiting.validate); err != nil {
		return nil, err
	}
	tenant, err := events.Parse[events.TenantKind](c.Tenant)
	if err != nil {
		return nil, fmt.Errorf("--tenant: %w", err)
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	keys, err := c.load(ctx)
	if err != nil {
		return nil, advised(err)
	}
	starting, started := c.bound(ctx)
	defer started()
	pool, err := connectDatabase(starting, c.Database, newCondition("import", log), nil)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return keys.Check(ctx, tx) }); err != nil {
		return nil, err
	}
	report, err := api.ImportTenant(ctx, file, api.ImportOptions{
		Pool: pool, Tenant: tenant, Limits: subscribers.Limits{AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks, AllowPorts: c.AllowPorts},
		Secrets: keys, Quota: c.Quota, GiveDomains: c.GiveDomains, DryRun: c.DryRun, Progress: progress,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return report, nil
}
