package mailbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Agent is a mail address that receives mail. The address *@example.com takes what no other agent of the domain does.
type Agent struct {
	Address    string // folded; the agent_id everywhere
	TenantID   events.TenantID
	WebhookURL *string // nil: it has no webhook of its own
	Senders    SenderRules
	CreatedAt  time.Time
	// Suspended: it takes no mail, because its tenant is deleted.
	Suspended bool
}

const agentColumns = `address, tenant_id, webhook_url, allow_senders, deny_senders, require_dmarc, created_at, suspended`

// columns are where [agentColumns] are read into.
func (a *Agent) columns() []any {
	return []any{&a.Address, &a.TenantID, &a.WebhookURL, &a.Senders.Allow, &a.Senders.Deny, &a.Senders.RequireDMARC, &a.CreatedAt, &a.Suspended}
}

func scanAgent(row pgx.CollectableRow) (Agent, error) {
	var a Agent
	err := row.Scan(a.columns()...)
	a.CreatedAt = a.CreatedAt.UTC()
	return a, err
}

// CreateAgent creates an agent of the tenant; webhookURL is "" for none. The
// address is stored as [Fold] returns it; a wrong one is an [*events.FieldError]. created
// is false if any tenant has an agent of that address, or another tenant released one
// of its [Candidates] less than [Quarantine] ago: mail for that one would come here. Whether the tenant owns the domain is not checked; see
// [CheckOwner].
func CreateAgent(ctx context.Context, db pg.DB, tenant events.TenantID, address, webhookURL string) (a Agent, created bool, err error) {
	address, err = cleanAddress(address)
	if err != nil {
		return a, false, err
	}
	list, err := readAgents(ctx, db, `INSERT INTO fanmail.agents (tenant_id, address, webhook_url)
		SELECT $1, $2, nullif($3, '') WHERE NOT EXISTS (
			SELECT 1 FROM fanmail.released_names WHERE name = ANY($5) AND tenant_id <> $1 AND released_at > now() - make_interval(secs => $4))
		ON CONFLICT (address) DO NOTHING RETURNING `+agentColumns, tenant, address, webhookURL, Quarantine.Seconds(), append(Candidates(address), address))
	if err != nil || len(list) == 0 {
		return a, false, err
	}
	return list[0], true, nil
}

// CheckOwner returns an [*events.FieldError] if the tenant owns no domain of the
// address. It says the same whether or not the address exists.
func CheckOwner(ctx context.Context, db pg.DB, tenant events.TenantID, address string) error {
	address, err := cleanAddress(address)
	if err != nil {
		return err
	}
	owns, err := OwnsDomain(ctx, db, tenant, domainOf(address))
	if err != nil || owns {
		return err
	}
	return &events.FieldError{Field: "address", Reason: "is on a domain that this tenant has not verified: add it with POST /v1/domains, or ask the operator to give it"}
}

// ListAgents returns up to limit agents of the tenant, by address, that come
// after an address. It ends early after [pg.PageBytes] of them, and more then says that
// others come after the last one.
func ListAgents(ctx context.Context, db pg.DB, tenant events.TenantID, after string, limit int) (list []Agent, more bool, err error) {
	if wrong := input.Text(after); wrong != "" {
		return nil, false, &events.FieldError{Field: "after", Reason: wrong}
	}
	rows, err := db.Query(ctx, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address > $2 ORDER BY address LIMIT $3`, tenant, after, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list agents: %w", err)
	}
	if list, more, err = pg.CollectPage(rows, scanAgent); err != nil {
		return nil, false, fmt.Errorf("list agents: %w", err)
	}
	return list, more, nil
}

// CountAgents returns how many agents a tenant has.
func CountAgents(ctx context.Context, db pg.DB, tenant events.TenantID) (n int64, err error) {
	if err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.agents WHERE tenant_id = $1`, tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count agents: %w", err)
	}
	return n, nil
}

// GetAgent returns one agent. Like [ChangeAgent], [SetWebhook] and [DeleteAgent] it returns
// [pgx.ErrNoRows] if the tenant has no such agent.
func GetAgent(ctx context.Context, db pg.DB, tenant events.TenantID, address string) (Agent, error) {
	return readAgent(ctx, db, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address = $2`, tenant, address)
}

// SetWebhook sets an agent's own webhook. A nil url removes it; deliveries that
// still wait for it then end as failed.
func SetWebhook(ctx context.Context, db pg.DB, tenant events.TenantID, address string, url *string) (Agent, error) {
	return readAgent(ctx, db, `UPDATE fanmail.agents SET webhook_url = $3 WHERE tenant_id = $1 AND address = $2 RETURNING `+agentColumns, tenant, address, url)
}

// AgentChange has the settings of an agent that change; the zero value changes none.
type AgentChange struct {
	SetWebhook   bool
	WebhookURL   *string // where SetWebhook is true; nil removes it
	Allow, Deny  *[]string
	RequireDMARC *bool
}

// ChangeAgent changes settings of an agent. Wrong senders are an [*events.FieldError].
func ChangeAgent(ctx context.Context, db pg.DB, tenant events.TenantID, address string, c AgentChange) (Agent, error) {
	var lists [2][]string // nil: unchanged
	for i, l := range []struct {
		field string
		list  *[]string
	}{{"allow_senders", c.Allow}, {"deny_senders", c.Deny}} {
		if l.list == nil {
			continue
		}
		clean, err := CleanSenders(l.field, *l.list)
		if err != nil {
			return Agent{}, err
		}
		lists[i] = clean
	}
	return readAgent(ctx, db, `UPDATE fanmail.agents SET webhook_url = CASE WHEN $3 THEN $4 ELSE webhook_url END,
		allow_senders = coalesce($5::text[], allow_senders), deny_senders = coalesce($6::text[], deny_senders),
		require_dmarc = coalesce($7, require_dmarc) WHERE tenant_id = $1 AND address = $2 RETURNING `+agentColumns,
		tenant, address, c.SetWebhook, c.WebhookURL, lists[0], lists[1], c.RequireDMARC)
}

// DeleteAgent deletes an agent. Its address takes no more mail, and other tenants
// can't have it for [Quarantine]; its messages stay.
func DeleteAgent(ctx context.Context, db pg.DB, tenant events.TenantID, address string) error {
	_, err := readAgent(ctx, db, `WITH gone AS (DELETE FROM fanmail.agents WHERE tenant_id = $1 AND address = $2 RETURNING `+agentColumns+`),
		released AS (INSERT INTO fanmail.released_names (name, tenant_id) SELECT address, tenant_id FROM gone
			ON CONFLICT (name) DO UPDATE SET tenant_id = excluded.tenant_id, released_at = now())
		SELECT `+agentColumns+` FROM gone`, tenant, address)
	return err
}

// CheckAgents returns an [*events.FieldError] for the field if one of the
// addresses is no agent of the tenant. Empty addresses are skipped.
func CheckAgents(ctx context.Context, db pg.DB, tenant events.TenantID, field string, addresses ...string) error {
	addresses = slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return a == "" })
	missing, err := MissingAgent(ctx, db, tenant, addresses...)
	if err == nil && missing != "" {
		err = &events.FieldError{Field: field, Reason: fmt.Sprintf("names %q, which is no agent of this tenant", missing)}
	}
	return err
}

// MissingAgent returns the first address that is no agent of the tenant, or "".
func MissingAgent(ctx context.Context, db pg.DB, tenant events.TenantID, addresses ...string) (string, error) {
	for _, address := range addresses {
		if input.Text(address) != "" {
			return address, nil
		}
	}
	if len(addresses) == 0 {
		return "", nil
	}
	have, err := readAgents(ctx, db, `SELECT `+agentColumns+` FROM fanmail.agents WHERE tenant_id = $1 AND address = ANY($2)`, tenant, addresses)
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

// Suspend makes all agents of a tenant take no mail, or take it again.
func Suspend(ctx context.Context, tx pg.DB, tenant events.TenantID, suspended bool) error {
	if _, err := tx.Exec(ctx, `UPDATE fanmail.agents SET suspended = $2 WHERE tenant_id = $1 AND suspended <> $2`, tenant, suspended); err != nil {
		return fmt.Errorf("suspend agents: %w", err)
	}
	return nil
}

// Agents are agents by address.
type Agents map[string]Agent

// Of returns the agent of an address if it is the tenant's. It may be suspended: what it has
// taken before is still delivered.
func (a Agents) Of(tenant events.TenantID, address string) (Agent, bool) {
	found, ok := a[address]
	return found, ok && found.TenantID == tenant
}

// Taking returns the agent of an address if it is the tenant's and takes mail.
func (a Agents) Taking(tenant events.TenantID, address string) (Agent, bool) {
	found, ok := a.Of(tenant, address)
	return found, ok && !found.Suspended
}

// QueueAgents adds to a batch the lookup of agents, of whichever tenant, and
// puts those that exist into found.
func QueueAgents(b *pgx.Batch, addresses []string, found Agents) {
	b.Queue(`SELECT `+agentColumns+` FROM fanmail.agents WHERE address = ANY($1)`, addresses).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, scanAgent)
		for _, a := range list {
			found[a.Address] = a
		}
		return err
	})
}

func readAgents(ctx context.Context, db pg.DB, sql string, args ...any) ([]Agent, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAgent)
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	return list, nil
}

func readAgent(ctx context.Context, db pg.DB, sql string, tenant events.TenantID, address string, more ...any) (Agent, error) {
	if input.Text(address) != "" {
		return Agent{}, fmt.Errorf("query agents: %w", pgx.ErrNoRows)
	}
	list, err := readAgents(ctx, db, sql, append([]any{tenant, Fold(address)}, more...)...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("query agents: %w", pgx.ErrNoRows)
	}
	if err != nil {
		return Agent{}, err
	}
	return list[0], nil
}
