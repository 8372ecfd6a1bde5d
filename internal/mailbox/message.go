package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Message is one agent's copy of a mail.
type Message struct {
	ID        events.MessageID
	CreatedAt time.Time // of its event too
	TenantID  events.TenantID
	AgentID   string
	EventID   events.ID
	Raw       Raw
}

const insertRaw = `INSERT INTO fanmail.message_raws (id, created_at, raw) VALUES ($1, $2, $3)`

const insertMessages = `
INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size)
SELECT id, $2, tenant_id, agent_id, event_id, $3, $4
FROM unnest($1::uuid[], $5::uuid[], $6::text[], $7::uuid[]) AS t (id, tenant_id, agent_id, event_id)`

// QueueMessages adds to a batch the insertion of a raw mail and of its messages,
// of which ID, TenantID, AgentID and EventID are read. at is the creation time of
// all.
func QueueMessages(b *pgx.Batch, at time.Time, raw []byte, list []Message) {
	ids, tenants := make([]events.MessageID, len(list)), make([]events.TenantID, len(list))
	agents, evs := make([]string, len(list)), make([]events.ID, len(list))
	for i, m := range list {
		ids[i], tenants[i], agents[i], evs[i] = m.ID, m.TenantID, m.AgentID, m.EventID
	}
	rawID := events.NewID()
	b.Queue(insertRaw, rawID, at, raw)
	b.Queue(insertMessages, ids, at, rawID, int64(len(raw)), tenants, agents, evs)
}

const messageColumns = `id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size`

func scanMessage(row pgx.CollectableRow) (m Message, err error) {
	err = row.Scan(&m.ID, &m.CreatedAt, &m.TenantID, &m.AgentID, &m.EventID, &m.Raw.ID, &m.Raw.Size)
	m.CreatedAt = m.CreatedAt.UTC()
	m.Raw.CreatedAt = m.CreatedAt
	return m, err
}

// GetMessage returns a message of the tenant. It returns [pgx.ErrNoRows] if the
// tenant has no such message.
func GetMessage(ctx context.Context, db pg.DB, tenant events.TenantID, id events.MessageID) (Message, error) {
	rows, err := db.Query(ctx, `SELECT `+messageColumns+` FROM fanmail.messages WHERE tenant_id = $1 AND id = $2`, tenant, id)
	if err != nil {
		return Message{}, fmt.Errorf("read a message: %w", err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMessage)
	if err != nil {
		return Message{}, fmt.Errorf("read a message: %w", err)
	}
	return m, nil
}

const messagesByKey = `
SELECT m.* FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
CROSS JOIN LATERAL (SELECT ` + messageColumns + ` FROM fanmail.messages WHERE id = w.id AND created_at = w.created_at) AS m`

// QueueFind adds to a batch the lookup of messages, of whichever tenant, each by
// its primary key, and puts those that exist into found.
func QueueFind(b *pgx.Batch, ids []events.MessageID, createdAt []time.Time, found map[events.MessageID]Message) {
	b.Queue(messagesByKey, ids, createdAt).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, scanMessage)
		for _, m := range list {
			found[m.ID] = m
		}
		return err
	})
}
