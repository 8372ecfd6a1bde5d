package agentwebhook

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// Agent is a mail address that receives mail.
type Agent struct {
	Address    string  // in lower case; the agent_id everywhere
	WebhookURL *string // nil: it has no webhook of its own
	CreatedAt  time.Time
}

const agentColumns = `address, webhook_url, created_at`

func scanAgent(row pgx.CollectableRow) (Agent, error) {
	var a Agent
	err := row.Scan(&a.Address, &a.WebhookURL, &a.CreatedAt)
	a.CreatedAt = a.CreatedAt.UTC()
	return a, err
}

// Create makes an agent of the tenant; webhookURL is "" for none. made is false
// where the address is taken, by whomever.
func Create(ctx context.Context, db DB, tenant events.TenantID, address, webhookURL string) (a Agent, made bool, err error) {
	list, err := read(ctx, db, `INSERT INTO fanmail.agents (tenant_id, address, webhook_url) VALUES ($1, $2, nullif($3, ''))
		ON CONFLICT (address) DO NOTHING RETURNING `+agentColumns, tenant, address, webhookURL)
	if err != nil || len(list) == 0 {
		return a, false, err
	}
	return list[0], true, nil
}

// List gives up to limit agents of the tenant after an address, by address.
func List(ctx context.Context, db DB, tenant events.TenantID, after string, limit int) ([]Agent, error) {
	return read(ctx, db, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address > $2 ORDER BY address LIMIT $3`, tenant, after, limit)
}

// Get gives one agent. Like [SetWebhook] and [Delete] it returns
// [pgx.ErrNoRows] where the tenant has no such agent.
func Get(ctx context.Context, db DB, tenant events.TenantID, address string) (Agent, error) {
	return one(ctx, db, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address = $2`, tenant, address)
}

// SetWebhook gives an agent a webhook of its own, or, where url is nil, takes
// it away: what then still waits for it ends.
func SetWebhook(ctx context.Context, db DB, tenant events.TenantID, address string, url *string) (Agent, error) {
	return one(ctx, db, `UPDATE fanmail.agents SET webhook_url = $3 WHERE tenant_id = $1 AND address = $2 RETURNING `+agentColumns, tenant, address, url)
}

// Delete removes an agent: its address takes no mail from then on.
func Delete(ctx context.Context, db DB, tenant events.TenantID, address string) error {
	_, err := one(ctx, db, `DELETE FROM fanmail.agents WHERE tenant_id = $1 AND address = $2 RETURNING `+agentColumns, tenant, address)
	return err
}

// Missing gives the first of the addresses that is no agent of the tenant; ""
// where all are.
func Missing(ctx context.Context, db DB, tenant events.TenantID, addresses ...string) (string, error) {
	if len(addresses) == 0 {
		return "", nil
	}
	have, err := read(ctx, db, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address = ANY($2)`, tenant, addresses)
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		if !slices.ContainsFunc(have, func(a Agent) bool { return a.Address == address }) {
			return address, nil
		}
	}
	return "", nil
}

// Owner gives the tenant of an agent, and the database's time. It returns
// [pgx.ErrNoRows] where nobody has such an agent.
func Owner(ctx context.Context, db DB, address string) (tenant events.TenantID, now time.Time, err error) {
	err = db.QueryRow(ctx, `SELECT tenant_id, clock_timestamp() FROM fanmail.agents WHERE address = $1`, address).Scan(&tenant, &now)
	if err != nil {
		return tenant, now, fmt.Errorf("look up an agent: %w", err)
	}
	return tenant, now, nil
}

func read(ctx context.Context, db DB, sql string, args ...any) ([]Agent, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("agents: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAgent)
	if err != nil {
		return nil, fmt.Errorf("agents: %w", err)
	}
	return list, nil
}

func one(ctx context.Context, db DB, sql string, args ...any) (Agent, error) {
	list, err := read(ctx, db, sql, args...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("agents: %w", pgx.ErrNoRows)
	}
	if err != nil {
		return Agent{}, err
	}
	return list[0], nil
}
