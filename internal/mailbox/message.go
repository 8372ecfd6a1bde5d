package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

const insertMails = `
WITH raws AS (
	INSERT INTO fanmail.message_raws (id, created_at, raw) SELECT id, coalesce($2, now()), raw FROM unnest($8::uuid[], $9::bytea[]) AS t (id, raw)
	WHERE ` + pg.GateOpen + `
)
INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size, shared)
SELECT id, coalesce($2, now()), tenant_id, agent_id, event_id, raw_id, raw_size, shared
FROM unnest($1::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::bigint[], $10::boolean[]) AS t (id, tenant_id, agent_id, event_id, raw_id, raw_size, shared)
WHERE ` + pg.GateOpen

// Mail is a raw mail and its messages, of which ID, TenantID, AgentID and EventID are read.
type Mail struct {
	// ID becomes the id of the raw mail in Raw; zero for a new one. Others have their own.
	ID  events.ID
	Raw []byte
	// Stored is the raw mail if [StoreRaw] has stored it in the same transaction; Raw is not read then.
	Stored *Raw
	// Blob is the raw mail if [PutBlob] has stored it; Raw is not read then.
	Blob     *Blob
	Messages []Message
}

// QueueMails adds to a batch the insertion of mails. at is the creation time of all; zero is the transaction's time, for
// mails in Raw only. Those are not inserted behind a closed gate; see [pg.GateOpen].
func QueueMails(b *pgx.Batch, at time.Time, mails []Mail) {
	var (
		rawIDs       []events.ID
		raws         [][]byte
		ids          []events.MessageID
		tenants      []events.TenantID
		agents       []string
		evs, ofMails []events.ID
		sizes        []int64
		shared       []bool
	)
	for _, mail := range mails {
		of, size := mail.ID, int64(len(mail.Raw))
		switch {
		case mail.Blob != nil:
			of, size = mail.Blob.id, mail.Blob.size
			mail.Blob.queue(b, at)
		case mail.Stored != nil:
			of, size = mail.Stored.ID, mail.Stored.Size
		default:
			if of.IsZero() {
				of = events.NewID()
			}
			rawIDs, raws = append(rawIDs, of), append(raws, mail.Raw)
		}
		for _, m := range mail.Messages {
			ids, tenants, agents, evs = append(ids, m.ID), append(tenants, m.TenantID), append(agents, m.AgentID), append(evs, m.EventID)
			ofMails, sizes = append(ofMails, of), append(sizes, size)
			shared = append(shared, len(mail.Messages) > 1)
		}
	}
	b.Queue(insertMails, ids, pgtype.Timestamptz{Time: at, Valid: !at.IsZero()}, tenants, agents, evs, ofMails, sizes, rawIDs, raws, shared)
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

// WithRaw returns those of the messages that have the raw mail of that id. A transaction of which the answer was lost has
// committed a message if it has the raw mail of the transaction.
func WithRaw(ctx context.Context, db pg.DB, raw events.ID, ids []events.MessageID) ([]events.MessageID, error) {
	rows, err := db.Query(ctx, `SELECT id FROM fanmail.messages WHERE id = ANY($1::uuid[]) AND raw_id = $2`, ids, raw)
	if err != nil {
		return nil, fmt.Errorf("look up the messages of a raw mail: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[events.MessageID])
	if err != nil {
		return nil, fmt.Errorf("look up the messages of a raw mail: %w", err)
	}
	return list, nil
}
