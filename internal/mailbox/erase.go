package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// StoredRaw is a raw mail whose message was erased. Blob is its key in the blob store; "" for one in the database.
type StoredRaw struct {
	ID        [16]byte
	CreatedAt time.Time
	Blob      string
}

const eraseMessages = `
WITH gone AS (
	DELETE FROM fanmail.messages AS m USING unnest($2::uuid[], $3::timestamptz[]) AS u (id, created_at)
	WHERE m.id = u.id AND m.created_at = u.created_at AND m.tenant_id = $1 RETURNING m.raw_id, m.created_at
)
SELECT g.raw_id, g.created_at, coalesce(r.blob, '') FROM gone AS g
LEFT JOIN fanmail.message_raws AS r ON r.id = g.raw_id AND r.created_at = g.created_at`

// Erase deletes messages of a tenant, and returns the raw mail of each. created are the messages' times. Give the raw
// mails to [EraseRaws].
func Erase(ctx context.Context, tx pg.DB, tenant events.TenantID, ids []events.MessageID, created []time.Time) ([]StoredRaw, error) {
	rows, err := tx.Query(ctx, eraseMessages, tenant, ids, created)
	if err != nil {
		return nil, fmt.Errorf("erase messages: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StoredRaw])
	if err != nil {
		return nil, fmt.Errorf("erase messages: %w", err)
	}
	return list, nil
}

// MessagesOf returns some messages of a tenant, the oldest first, with their times.
func MessagesOf(ctx context.Context, db pg.DB, tenant events.TenantID, limit int) (ids []events.MessageID, created []time.Time, err error) {
	rows, err := db.Query(ctx, `SELECT id, created_at FROM fanmail.messages WHERE tenant_id = $1 ORDER BY created_at, id LIMIT $2`, tenant, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("list a tenant's messages: %w", err)
	}
	var id events.MessageID
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { ids, created = append(ids, id), append(created, at); return nil }); err != nil {
		return nil, nil, fmt.Errorf("list a tenant's messages: %w", err)
	}
	return ids, created, nil
}

// Only a raw mail that was stored for several agents may have another message.
const eraseRaws = `
DELETE FROM fanmail.message_raws AS r USING unnest($1::uuid[], $2::timestamptz[]) AS u (id, created_at)
WHERE r.id = u.id AND r.created_at = u.created_at
	AND NOT EXISTS (SELECT 1 FROM fanmail.messages AS m WHERE m.raw_id = r.id AND m.shared AND m.created_at = r.created_at)`

// EraseRaws deletes those of the raw mails that no message names any more, and returns how many there were. The messages
// of another agent or tenant keep theirs. Two transactions that delete the last two messages of a raw mail may both leave
// it: call EraseRaws again later. The blobs are left; see [RemoveBlob].
func EraseRaws(ctx context.Context, tx pg.DB, list []StoredRaw) (int64, error) {
	ids, created := make([][16]byte, len(list)), make([]time.Time, len(list))
	for i, r := range list {
		ids[i], created[i] = r.ID, r.CreatedAt
	}
	tag, err := tx.Exec(ctx, eraseRaws, ids, created)
	if err != nil {
		return 0, fmt.Errorf("erase raw mails: %w", err)
	}
	return tag.RowsAffected(), nil
}

// RemoveBlob removes a blob that no row names, and reports whether it did. store must not be nil.
func RemoveBlob(ctx context.Context, db pg.DB, store blobs.Store, key string) (bool, error) {
	id, _, ok := parseBlobKey(key)
	if !ok {
		return false, fmt.Errorf("remove the blob %s: this is no key of a raw mail", key)
	}
	var named bool
	if err := db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.message_raws WHERE id = $1 AND blob = $2)`, id, key).Scan(&named); err != nil {
		return false, fmt.Errorf("look up the mail of a blob: %w", err)
	}
	if named {
		return false, nil
	}
	return true, store.Delete(ctx, key)
}

// TenantRows are what a tenant has in the tables of this package, but its messages.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteOfTenant("fanmail.conversation_keys", "tenant_id", "mail", "bucket"),
		pg.DeleteOfTenant("fanmail.agents", "address"),
		pg.DeleteOfTenant("fanmail.domains", "name", "tenant_id"),
		pg.DeleteOfTenant("fanmail.released_names", "name"),
	}
}
