package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Imported is an event of another system. Its ID, CreatedAt and Envelope are kept as they are.
type Imported struct {
	events.Record // without Seq
	Envelope      []byte
	// MessageIDHeader is the Message-ID of the mail; "" for none.
	MessageIDHeader string
	// Waiting events are not fanned out yet: they get an outbox row.
	Waiting bool
	// Unlisted events are left out by replays, such as those of a test of one webhook.
	Unlisted bool
}

// The first statement numbers what is not there yet, in order; a row that another transaction inserts meanwhile stays.
const importEvents = `
WITH input AS (
	SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::boolean[], $11::boolean[],
		$12::bigint[], $13::bigint[]) WITH ORDINALITY
		AS t (id, created_at, tenant_id, type, agent_id, conversation_id, labels, message_id, envelope, waiting, unlisted, message_hash, header_hash, n)
), numbered AS MATERIALIZED (
	SELECT f.*, nextval('fanmail.outbox_seq') AS seq FROM (
		SELECT * FROM input AS i WHERE NOT EXISTS (SELECT 1 FROM fanmail.events AS e WHERE e.id = i.id AND e.created_at = i.created_at) ORDER BY n) AS f
), logged AS (
	INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, agent_id, conversation_id, labels, message_id, envelope, message_key, header_key)
	SELECT id, created_at, tenant_id, type, CASE WHEN unlisted THEN -seq ELSE seq END, nullif(agent_id, ''), nullif(conversation_id, ''),
	       CASE WHEN labels = '' THEN NULL ELSE string_to_array(labels, E'\x01') END, nullif(message_id, ''), envelope,
	       fanmail.search_key(created_at, message_hash), fanmail.search_key(created_at, header_hash)
	FROM numbered ORDER BY seq ON CONFLICT DO NOTHING
	RETURNING id, created_at, tenant_id, seq
), queued AS (
	INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at)
	SELECT l.tenant_id, l.seq, l.id, l.created_at FROM logged AS l JOIN numbered AS n ON n.id = l.id AND n.created_at = l.created_at WHERE n.waiting
)
SELECT id, seq FROM logged`

// Import inserts up to [MaxInsert] events of another system, in order, and returns the sequence of each new one. An
// event that exists stays as it is. It checks neither types nor envelopes.
func Import(ctx context.Context, tx pgx.Tx, list []Imported) (map[events.ID]int64, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > MaxInsert {
		return nil, tooMany(len(list))
	}
	n := len(list)
	ids, created, tenants := make([]events.ID, n), make([]time.Time, n), make([]events.TenantID, n)
	types, agents, conversations, labels, messages := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	envelopes, waiting, unlisted := make([][]byte, n), make([]bool, n), make([]bool, n)
	messageHashes, headerHashes := make([]int64, n), make([]int64, n)
	for i := range list {
		e := &list[i]
		messageHashes[i], headerHashes[i] = messageKeyOf(e.TenantID, e.MessageID), headerKeyOf(e.TenantID, e.MessageIDHeader)
		ids[i], created[i], tenants[i], types[i] = e.ID, e.CreatedAt, e.TenantID, string(e.Type)
		agents[i], conversations[i], labels[i], messages[i] = e.AgentID, e.ConversationID, joinLabels(e.Labels), e.MessageID
		envelopes[i], waiting[i], unlisted[i] = e.Envelope, e.Waiting, e.Unlisted
	}
	if _, err := tx.Exec(ctx, refuseClosed, tenants); err != nil {
		return nil, fmt.Errorf("import events: %w", refused(err))
	}
	// What is not fanned out has no place in the order of deliveries.
	if queued := waitingTenants(list); len(queued) > 0 {
		if _, err := tx.Exec(ctx, lockAnyStrict, queued); err != nil {
			return nil, fmt.Errorf("lock tenants with strict webhooks: %w", err)
		}
	}
	rows, err := tx.Query(ctx, importEvents, ids, created, tenants, types, agents, conversations, labels, messages, envelopes, waiting, unlisted, messageHashes, headerHashes)
	if err != nil {
		return nil, fmt.Errorf("import events: %w", err)
	}
	added := make(map[events.ID]int64, n)
	var id events.ID
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &seq}, func() error { added[id] = seq; return nil }); err != nil {
		return nil, fmt.Errorf("import events: %w", err)
	}
	return added, nil
}

func waitingTenants(list []Imported) (tenants []events.TenantID) {
	for i := range list {
		if list[i].Waiting {
			tenants = append(tenants, list[i].TenantID)
		}
	}
	return tenants
}

const recordsOf = `
SELECT e.* FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
CROSS JOIN LATERAL (SELECT ` + recordColumns + ` FROM fanmail.events WHERE id = w.id AND created_at = w.created_at) AS e`

// Records reads events, each by its primary key. It does not check tenants.
func Records(ctx context.Context, db pg.DB, refs EventRefs) (map[events.ID]events.Record, error) {
	found := make(map[events.ID]events.Record, refs.Len())
	if refs.Len() == 0 {
		return found, nil
	}
	rows, err := db.Query(ctx, recordsOf, refs.ids, refs.times)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r events.Record, err error) {
		err = row.Scan(recordFields(&r)...)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	for _, r := range list {
		found[r.ID] = r
	}
	return found, nil
}
