package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// proofText is sealed with each key in use, so that a process can tell whether its
// key is that key.
const proofText = "fanmail"

func proofOf(id string) Place { return Place{Table: "secret_keys", Column: "proof", Row: id} }

// Enroll records that rows are sealed with the primary key. Call it in the
// transaction that writes what [Keyring.Seal] returned, before Seal: it also takes
// over a new primary key of the file. A keyring without a key must not write in clear
// where others seal: the error is then a [*MissingKeyError].
func (k *Keyring) Enroll(ctx context.Context, tx pgx.Tx) error {
	k.reload()
	id := k.Primary()
	if id == "" {
		return k.Check(ctx, tx)
	}
	var proof string
	// The lock keeps [Forget] waiting until this transaction's rows can be seen.
	err := tx.QueryRow(ctx, `SELECT proof FROM fanmail.secret_keys WHERE id = $1 FOR KEY SHARE`, id).Scan(&proof)
	if err == nil {
		_, err = k.Open(proof, proofOf(id))
		return err
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the keys in use: %w", err)
	}
	if proof, err = k.Seal(proofText, proofOf(id)); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO fanmail.secret_keys (id, proof) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, id, proof)
	if err != nil {
		return fmt.Errorf("record a key in use: %w", err)
	}
	return nil
}

// Check returns a [*MissingKeyError] or [ErrDamaged] if rows may be sealed with a key
// that this keyring does not have.
func (k *Keyring) Check(ctx context.Context, db pg.DB) error {
	rows, err := db.Query(ctx, `SELECT id, proof FROM fanmail.secret_keys ORDER BY created_at, id`)
	if err != nil {
		return fmt.Errorf("read the keys in use: %w", err)
	}
	var id, proof string
	var missing error
	_, err = pgx.ForEachRow(rows, []any{&id, &proof}, func() error {
		if _, err := k.Open(proof, proofOf(id)); err != nil && missing == nil {
			missing = err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the keys in use: %w", err)
	}
	return missing
}

// InUse returns the ids of the keys with which rows may be sealed, oldest first.
func InUse(ctx context.Context, db pg.DB) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT id FROM fanmail.secret_keys ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("read the keys in use: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the keys in use: %w", err)
	}
	return ids, nil
}

// Forget records that no row is sealed with a key any more, unless used finds one.
// used is called when no transaction can seal with a key that is in no row of the
// table of keys.
func Forget(ctx context.Context, db pg.TxDB, id string, used func(pgx.Tx) (bool, error)) (forgotten bool, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM fanmail.secret_keys WHERE id = $1`, id); err != nil {
			return fmt.Errorf("forget a key: %w", err)
		}
		found, err := used(tx)
		if err != nil {
			return err
		}
		if found {
			return errInUse
		}
		return nil
	})
	if errors.Is(err, errInUse) {
		return false, nil
	}
	return err == nil, err
}

var errInUse = errors.New("the key is in use")
