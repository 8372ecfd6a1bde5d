package importe2a

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// checkForeign adds a problem for each agent and webhook that another tenant of Fanmail has.
func (p *pass) checkForeign(ctx context.Context) error {
	for page := range slices.Chunk(p.accounts.agents, pageRows) {
		addresses, tenants := make([]string, len(page)), make([]events.TenantID, len(page))
		for i := range page {
			addresses[i], tenants[i] = page[i].value.Address, page[i].value.TenantID
		}
		foreign, err := mailbox.ForeignAgents(ctx, p.o.Pool, addresses, tenants)
		if err != nil {
			return err
		}
		for _, a := range foreign {
			p.report.problem("agent %s belongs to another tenant here: it stays there, and its mails are imported all the same", a)
		}
	}
	for page := range slices.Chunk(p.accounts.webhooks, pageRows) {
		ids, tenants := make([]events.WebhookID, len(page)), make([]events.TenantID, len(page))
		for i := range page {
			ids[i], tenants[i] = page[i].value.ID, page[i].value.TenantID
		}
		foreign, err := subscribers.ForeignWebhooks(ctx, p.o.Pool, ids, tenants)
		if err != nil {
			return err
		}
		for _, id := range foreign {
			p.report.problem("webhook %s belongs to another tenant here: it stays there, and its deliveries are left out", id)
		}
	}
	return nil
}

// writeAccounts imports the accounts that are new or have changed there since the last pass, or counts them for a check.
func (p *pass) writeAccounts(ctx context.Context) error {
	a := &p.accounts
	return errors.Join(
		write(ctx, p, rowTenants, kindTenant, a.tenants, func(_ context.Context, _ pgx.Tx, b *pgx.Batch, list []tenancy.Tenant) error {
			tenancy.QueueImportTenants(b, list)
			return nil
		}, func(list []tenancy.Tenant) (int64, error) {
			return tenancy.CountTenants(ctx, p.o.Pool, idsOf(list, func(t tenancy.Tenant) events.TenantID { return t.ID }))
		}),
		write(ctx, p, rowKeys, kindKey, a.keys, func(_ context.Context, _ pgx.Tx, b *pgx.Batch, list []tenancy.ImportedKey) error {
			tenancy.QueueImportKeys(b, list)
			return nil
		}, func(list []tenancy.ImportedKey) (int64, error) {
			return tenancy.CountTheseKeys(ctx, p.o.Pool, idsOf(list, func(k tenancy.ImportedKey) events.APIKeyID { return k.ID }))
		}),
		write(ctx, p, rowAgents, kindAgent, a.agents, func(_ context.Context, _ pgx.Tx, b *pgx.Batch, list []mailbox.ImportedAgent) error {
			mailbox.QueueImportAgents(b, list)
			return nil
		}, func(list []mailbox.ImportedAgent) (int64, error) {
			found := mailbox.Agents{}
			b := &pgx.Batch{}
			mailbox.QueueAgents(b, idsOf(list, func(a mailbox.ImportedAgent) string { return a.Address }), found)
			err := p.o.Pool.SendBatch(ctx, b).Close()
			return int64(len(found)), err
		}),
		write(ctx, p, rowWebhooks, kindWebhook, a.webhooks, func(ctx context.Context, tx pgx.Tx, _ *pgx.Batch, list []subscribers.ImportedWebhook) error {
			return p.o.Store.ImportWebhooks(ctx, tx, list)
		}, func(list []subscribers.ImportedWebhook) (int64, error) {
			return subscribers.CountWebhooks(ctx, p.o.Pool, idsOf(list, func(w subscribers.ImportedWebhook) events.WebhookID { return w.ID }))
		}),
	)
}

func idsOf[T, K any](list []T, id func(T) K) []K {
	out := make([]K, len(list))
	for i := range list {
		out[i] = id(list[i])
	}
	return out
}

// write imports the rows of a kind that the last pass did not read as they are now; a check counts those that are here.
func write[T any](ctx context.Context, p *pass, what, kind string, rows []row[T],
	queue func(context.Context, pgx.Tx, *pgx.Batch, []T) error, count func([]T) (int64, error),
) error {
	counts := p.report.row(what)
	for page := range slices.Chunk(rows, pageRows) {
		if p.check {
			here, err := count(idsOf(page, func(r row[T]) T { return r.value }))
			if err != nil {
				return err
			}
			counts.Here += here
			continue
		}
		var changed []T
		b := &pgx.Batch{}
		err := pgx.BeginFunc(ctx, p.o.Pool, func(tx pgx.Tx) error {
			for _, r := range page {
				was, known := p.state.digests[kind+" "+r.id]
				if was == r.digest {
					continue
				}
				if !known {
					counts.Added++
				}
				changed = append(changed, r.value)
				p.state.queueDigest(b, kind, r.id, r.digest)
			}
			if len(changed) == 0 {
				return nil
			}
			if err := queue(ctx, tx, b, changed); err != nil {
				return err
			}
			return tx.SendBatch(ctx, b).Close()
		})
		if err != nil {
			return fmt.Errorf("import %s: %w", what, err)
		}
		counts.Here += int64(len(page))
	}
	p.progress(what, counts.Here, int64(len(rows)))
	return nil
}
