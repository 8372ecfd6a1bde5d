package subscribers

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// sealedColumns are the columns of a webhook that hold one secret, sealed for the
// [keyring.Place] of their name. NULL and ” are no secret.
var sealedColumns = []string{columnSecret, columnSettings}

// stale is the condition on a webhook that has a secret which is not stored as the
// keyring would store it now; $1 is what current ones begin with.
func stale() string {
	conditions := []string{`EXISTS (SELECT 1 FROM unnest(` + columnPrevious + `) AS p WHERE NOT starts_with(p, $1))`}
	for _, c := range sealedColumns {
		conditions = append(conditions, `coalesce(`+c+`, '') <> '' AND NOT starts_with(`+c+`, $1)`)
	}
	return `(` + strings.Join(conditions, ` OR `) + `)`
}

// CountStale returns how many webhooks have secrets that are not sealed with the
// primary key of the keyring. Without a key it counts those with secrets in clear.
func CountStale(ctx context.Context, db pg.DB, keys *keyring.Keyring) (n int64, err error) {
	prefix := keys.Prefix()
	if prefix == "" {
		prefix = keyring.SealedPrefix
	}
	err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE `+stale(), prefix).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the secrets to encrypt: %w", err)
	}
	return n, nil
}

// Resealed is the result of one [Reseal].
type Resealed struct {
	// Last is the webhook after which to go on. It is zero at the end.
	Last events.WebhookID
	// Webhooks is how many webhooks were changed.
	Webhooks int
	// Failed are webhooks with secrets that could not be opened, and Err is why the
	// first of them could not. They are left as they were.
	Failed []events.WebhookID
	Err    error
}

// Reseal seals the secrets of up to limit webhooks after a webhook, by id, with the
// primary key of the keyring, in one transaction. It leaves out rows that another
// transaction has locked: call it from the beginning again until [CountStale] finds no
// others than those that failed.
func Reseal(ctx context.Context, db pg.TxDB, keys *keyring.Keyring, after events.WebhookID, limit int) (Resealed, error) {
	var out Resealed
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if err := keys.Enroll(ctx, tx); err != nil {
			return err
		}
		// Outcomes lock several webhooks in any order: to wait for a row could be a deadlock.
		rows, err := tx.Query(ctx, `SELECT id, ARRAY[`+strings.Join(sealedColumns, `, `)+`]::text[], `+columnPrevious+` FROM fanmail.webhooks
			WHERE id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000') AND `+stale()+` ORDER BY id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED`, keys.Prefix(), after, limit)
		if err != nil {
			return fmt.Errorf("read secrets to encrypt: %w", err)
		}
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r sealedRow, err error) {
			err = row.Scan(&r.id, &r.columns, &r.previous)
			return r, err
		})
		if err != nil {
			return fmt.Errorf("read secrets to encrypt: %w", err)
		}
		writes := &pgx.Batch{} // in one round trip: outcomes of these webhooks wait for the rows
		for i := range list {
			if err := list[i].reseal(keys); err != nil {
				out.Failed = append(out.Failed, list[i].id)
				if out.Err == nil {
					out.Err = err
				}
				continue
			}
			list[i].queue(writes)
			out.Webhooks++
		}
		if err := tx.SendBatch(ctx, writes).Close(); err != nil {
			return fmt.Errorf("store encrypted secrets: %w", err)
		}
		if len(list) == limit {
			out.Last = list[limit-1].id
		}
		return nil
	})
	if err != nil {
		return Resealed{}, err
	}
	return out, nil
}

// sealedRow are the stored secrets of a webhook.
type sealedRow struct {
	id       events.WebhookID
	columns  []*string // as in sealedColumns
	previous []string
}

func (r *sealedRow) reseal(keys *keyring.Keyring) error {
	for i, column := range sealedColumns {
		if stored := r.columns[i]; stored != nil && *stored != "" {
			sealed, err := keys.Reseal(*stored, secretPlace(column, r.id))
			if err != nil {
				return err
			}
			r.columns[i] = &sealed
		}
	}
	for i, stored := range r.previous {
		sealed, err := keys.Reseal(stored, secretPlace(columnPrevious, r.id))
		if err != nil {
			return err
		}
		r.previous[i] = sealed
	}
	return nil
}

// queue adds the write of the row to a batch.
func (r *sealedRow) queue(writes *pgx.Batch) {
	args := []any{r.id, r.previous}
	set := columnPrevious + ` = $2`
	for i, column := range sealedColumns {
		args = append(args, r.columns[i])
		set += fmt.Sprintf(`, %s = $%d`, column, len(args))
	}
	writes.Queue(`UPDATE fanmail.webhooks SET `+set+` WHERE id = $1`, args...)
}

// KeyUsed reports whether a secret is sealed with a key.
func KeyUsed(ctx context.Context, db DB, id string) (used bool, err error) {
	conditions := []string{`EXISTS (SELECT 1 FROM unnest(` + columnPrevious + `) AS p WHERE starts_with(p, $1))`}
	for _, c := range sealedColumns {
		conditions = append(conditions, `starts_with(`+c+`, $1)`)
	}
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.webhooks WHERE `+strings.Join(conditions, ` OR `)+`)`, keyring.PrefixOf(id)).Scan(&used)
	if err != nil {
		return false, fmt.Errorf("look for secrets of a key: %w", err)
	}
	return used, nil
}
