package subscribers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// MaxPreviousSecrets bounds the previous secrets of a webhook that still sign. Each is
// a signature more in every POST.
const MaxPreviousSecrets = 10

// RotationLimitError means that as many previous secrets of a webhook sign as may.
type RotationLimitError struct {
	Limit int
	// Until is when the first of them ends; a rotation succeeds from then on.
	Until time.Time
}

// Error names the limit and when a rotation succeeds again.
func (e *RotationLimitError) Error() string {
	return fmt.Sprintf("%d previous secrets of the webhook still sign, which is the limit; rotate again after %s, when the first of them ends",
		e.Limit, e.Until.UTC().Format(time.RFC3339))
}

// Rotate gives a webhook a new signing secret and returns it; it can't be read
// later. The secret is the one that is brought along, or, if that is "", a new one. It
// also returns the time until which the secret before it signs too. Earlier ones sign
// until their own times. The error may be [ErrNotFound], [ErrPull], a [*RotationLimitError] or, for
// the secret, an [*events.FieldError].
func (s *Store) Rotate(ctx context.Context, tenant events.TenantID, id events.WebhookID, brought string) (secret string, previousUntil time.Time, err error) {
	if err := CheckSecret(brought); err != nil {
		return "", time.Time{}, err
	}
	secret = cmp.Or(brought, signature.NewSecret())
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var present string
		var kind Kind
		var previous []string
		var until []time.Time
		// The lock makes concurrent rotations take turns: each keeps the secret of the one before.
		err := tx.QueryRow(ctx, `SELECT signing_secret, previous_secrets, previous_until, kind FROM fanmail.webhooks
			WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE`, tenant, id).Scan(&present, &previous, &until, &kind)
		if err != nil {
			return found(err, "read a secret")
		}
		if kind == KindPull {
			return ErrPull
		}
		var now time.Time // after the wait for the lock
		if err := tx.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
			return fmt.Errorf("read the time: %w", err)
		}
		for i := len(until) - 1; i >= 0; i-- {
			if !until[i].After(now) {
				previous, until = slices.Delete(previous, i, i+1), slices.Delete(until, i, i+1)
			}
		}
		if len(previous) >= MaxPreviousSecrets {
			return &RotationLimitError{Limit: MaxPreviousSecrets, Until: slices.MinFunc(until, time.Time.Compare)}
		}
		sealed, err := sealSecret(ctx, tx, s.keys, secret, id)
		if err != nil {
			return err
		}
		previousUntil = now.Add(RotationGrace).UTC()
		kept, err := s.asPrevious(present, id)
		if err != nil {
			return err
		}
		if kept != "" {
			previous, until = slices.Insert(previous, 0, kept), slices.Insert(until, 0, previousUntil)
		}
		_, err = tx.Exec(ctx, `UPDATE fanmail.webhooks SET signing_secret = $3, previous_secrets = $4, previous_until = $5
			WHERE tenant_id = $1 AND id = $2`, tenant, id, sealed, previous, until)
		if err != nil {
			return fmt.Errorf("rotate a secret: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return secret, previousUntil, nil
}

// asPrevious returns the form in which the present secret is stored as a previous one.
// It is "" for a damaged secret, which signs nothing: to rotate is its remedy.
func (s *Store) asPrevious(stored string, id events.WebhookID) (string, error) {
	plain, err := s.keys.Open(stored, secretPlace(columnSecret, id))
	if errors.Is(err, keyring.ErrDamaged) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return s.keys.Seal(plain, secretPlace(columnPrevious, id))
}
