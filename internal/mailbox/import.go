package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ImportedAgent is an agent of another system.
type ImportedAgent struct {
	Address    string // as [CleanAddress] returns it
	TenantID   events.TenantID
	WebhookURL string // "": none
	CreatedAt  time.Time
}

// CleanAddress returns the form of an address in which an agent is stored, or an [*events.FieldError].
func CleanAddress(address string) (string, error) { return cleanAddress(address) }

// QueueImportAgents adds to a batch the insertion of agents. One that the tenant has gets the given webhook URL; one of
// another tenant stays as it is.
func QueueImportAgents(b *pgx.Batch, list []ImportedAgent) {
	for _, a := range list {
		b.Queue(`INSERT INTO fanmail.agents (address, tenant_id, webhook_url, created_at) VALUES ($1, $2, nullif($3, ''), $4)
			ON CONFLICT (address) DO UPDATE SET webhook_url = excluded.webhook_url WHERE agents.tenant_id = excluded.tenant_id`,
			a.Address, a.TenantID, a.WebhookURL, a.CreatedAt)
	}
}

// ImportedMail is a message of another system with its raw mail.
type ImportedMail struct {
	Message // ID, TenantID, AgentID, EventID and CreatedAt, which is that of its event
	Bytes   []byte
}

const importMails = `
WITH input AS (
	SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::uuid[], $6::bytea[]) AS t (id, created_at, tenant_id, agent_id, event_id, raw)
), raws AS (
	INSERT INTO fanmail.message_raws (id, created_at, raw) SELECT id, created_at, raw FROM input ON CONFLICT DO NOTHING
)
INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size, shared)
SELECT id, created_at, tenant_id, agent_id, event_id, id, octet_length(raw), false FROM input ON CONFLICT DO NOTHING RETURNING id`

// ImportMails inserts messages with their raw mails, and returns how many are new. The id of a raw mail is that of its
// message. A message that exists stays as it is.
func ImportMails(ctx context.Context, db pg.DB, list []ImportedMail) (added int, err error) {
	n := len(list)
	ids, created, tenants := make([]events.MessageID, n), make([]time.Time, n), make([]events.TenantID, n)
	agents, evs, raws := make([]string, n), make([]events.ID, n), make([][]byte, n)
	for i := range list {
		m := &list[i]
		ids[i], created[i], tenants[i], agents[i], evs[i], raws[i] = m.ID, m.CreatedAt, m.TenantID, m.AgentID, m.EventID, m.Bytes
		if raws[i] == nil {
			raws[i] = []byte{}
		}
	}
	rows, err := db.Query(ctx, importMails, ids, created, tenants, agents, evs, raws)
	if err != nil {
		return 0, fmt.Errorf("import messages: %w", err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[events.MessageID])
	if err != nil {
		return 0, fmt.Errorf("import messages: %w", err)
	}
	return len(got), nil
}

// ImportMessages inserts messages of which the raw mail stays where it was: ID, TenantID, AgentID, EventID, CreatedAt and
// the raw mail's size are kept. A message that exists stays as it is.
func ImportMessages(ctx context.Context, db pg.DB, list []Message) error {
	if len(list) == 0 {
		return nil
	}
	n := len(list)
	ids, created, tenants := make([]events.MessageID, n), make([]time.Time, n), make([]events.TenantID, n)
	agents, evs, raws, sizes := make([]string, n), make([]events.ID, n), make([]events.ID, n), make([]int64, n)
	for i := range list {
		m := &list[i]
		ids[i], created[i], tenants[i], agents[i], evs[i], raws[i], sizes[i] = m.ID, m.CreatedAt, m.TenantID, m.AgentID, m.EventID, events.NewID(), m.Raw.Size
	}
	_, err := db.Exec(ctx, `INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size)
		SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::bigint[])
		ON CONFLICT DO NOTHING`, ids, created, tenants, agents, evs, raws, sizes)
	if err != nil {
		return fmt.Errorf("import messages: %w", err)
	}
	return nil
}

// FindMessages returns those of the messages that exist and are the tenant's, each found by its primary key.
func FindMessages(ctx context.Context, db pg.DB, tenant events.TenantID, ids []events.MessageID, created []time.Time) (map[events.MessageID]Message, error) {
	rows, err := db.Query(ctx, messagesByKey, ids, created)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	found := make(map[events.MessageID]Message, len(list))
	for _, m := range list {
		if m.TenantID == tenant {
			found[m.ID] = m
		}
	}
	return found, nil
}

// ForeignAgents returns those of the addresses that are agents of other tenants than the given ones, in which
// tenants[i] is that of addresses[i].
func ForeignAgents(ctx context.Context, db pg.DB, addresses []string, tenants []events.TenantID) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT w.address FROM unnest($1::text[], $2::uuid[]) AS w (address, tenant_id)
		JOIN fanmail.agents AS a ON a.address = w.address AND a.tenant_id <> w.tenant_id`, addresses, tenants)
	if err != nil {
		return nil, fmt.Errorf("look for agents of other tenants: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for agents of other tenants: %w", err)
	}
	return found, nil
}

// CountMessages returns how many of the messages exist, each found by its primary key.
func CountMessages(ctx context.Context, db pg.DB, ids []events.MessageID, created []time.Time) (n int64, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
		CROSS JOIN LATERAL (SELECT 1 FROM fanmail.messages WHERE id = w.id AND created_at = w.created_at) AS m`, ids, created).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	return n, nil
}
