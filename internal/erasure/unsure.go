package erasure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
)

// mailsAtOnce bounds the raw mails of one step, and the events of a batch that have the address.
const mailsAtOnce = 20

// The kinds of items that are events whose envelope can't tell whether it involves the address.
const (
	itemUnsure = "unsure" // the raw mail is to be searched
	itemHit    = "hit"    // it has the address
	itemMiss   = "miss"   // it does not, or it is gone
)

// unsure is an event whose mail is searched.
type unsure struct {
	event     events.ID
	createdAt time.Time
	message   events.MessageID
	lacks     []string
}

func noteUnsure(ctx context.Context, tx pg.DB, of events.ErasureID, list []outbox.Involved) error {
	var ids, messages [][16]byte
	var created []time.Time
	var lacks []string
	for i := range list {
		e := &list[i]
		message, _ := events.Parse[events.MessageKind](e.MessageID) // zero: no mail is found for it
		ids, messages, created, lacks = append(ids, e.ID), append(messages, message), append(created, e.CreatedAt), append(lacks, strings.Join(e.Lacks, " "))
	}
	if len(list) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.erased_items (erasure_id, id, kind, created_at, message_id, lacks)
		SELECT $1, id, 'unsure', created_at, message_id, string_to_array(lacks, ' ')
		FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::text[]) AS i (id, created_at, message_id, lacks)
		ON CONFLICT DO NOTHING`, of, ids, created, messages, lacks)
	if err != nil {
		return fmt.Errorf("note whose mails are to be searched: %w", err)
	}
	return nil
}

const itemsOfKind = `
SELECT id, created_at, message_id, lacks FROM fanmail.erased_items WHERE erasure_id = $1 AND kind = $2 AND kind IN ('unsure', 'hit') ORDER BY id LIMIT $3`

func searched(ctx context.Context, db pg.DB, of events.ErasureID, kind string, limit int) ([]unsure, error) {
	rows, err := db.Query(ctx, itemsOfKind, of, kind, limit)
	if err != nil {
		return nil, fmt.Errorf("read whose mails are to be searched: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u unsure, err error) {
		err = row.Scan(&u.event, &u.createdAt, &u.message, &u.lacks)
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("read whose mails are to be searched: %w", err)
	}
	return list, nil
}

func anyUnsure(ctx context.Context, db pg.DB, of events.ErasureID) (bool, error) {
	list, err := searched(ctx, db, of, itemUnsure, 1)
	return len(list) > 0, err
}

func mark(ctx context.Context, db pg.DB, of events.ErasureID, kind string, ids []events.ID) error {
	if _, err := db.Exec(ctx, `UPDATE fanmail.erased_items SET kind = $3 WHERE erasure_id = $1 AND id = ANY ($2::uuid[])`, of, ids, kind); err != nil {
		return fmt.Errorf("note whose mails were searched: %w", err)
	}
	return nil
}
