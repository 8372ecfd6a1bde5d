package subscribers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// The columns with secrets, as the associated data of their ciphertexts names them.
const (
	columnSecret   = "signing_secret"
	columnPrevious = "previous_secrets"
	columnSettings = "request_settings"
)

func secretPlace(column string, id events.WebhookID) keyring.Place {
	return keyring.Place{Table: "webhooks", Column: column, Row: id.String()}
}

// sealSecret returns the stored form of a new signing secret.
func sealSecret(ctx context.Context, tx pgx.Tx, keys *keyring.Keyring, secret string, id events.WebhookID) (string, error) {
	if err := keys.Enroll(ctx, tx); err != nil {
		return "", err
	}
	return keys.Seal(secret, secretPlace(columnSecret, id))
}

// secrets are the opened signing secrets of a webhook.
type secrets struct {
	present  string
	previous []previousSecret // those that end last come first
	err      error            // why they can't be opened
}

type previousSecret struct {
	secret string
	until  time.Time
}

// storedSecrets are the columns of the secrets.
type storedSecrets struct {
	present  string
	previous []string
	until    []time.Time
}

// open opens the secrets of a webhook.
func (s *storedSecrets) open(keys *keyring.Keyring, id events.WebhookID) (out secrets) {
	if len(s.previous) != len(s.until) {
		return secrets{err: fmt.Errorf("read previous secrets: there are %d, and %d times", len(s.previous), len(s.until))}
	}
	var err error
	if out.present, err = keys.Open(s.present, secretPlace(columnSecret, id)); err != nil {
		return secrets{err: err}
	}
	for i, stored := range s.previous {
		plain, err := keys.Open(stored, secretPlace(columnPrevious, id))
		if err != nil {
			return secrets{err: err}
		}
		out.previous = append(out.previous, previousSecret{secret: plain, until: s.until[i]})
	}
	slices.SortStableFunc(out.previous, func(a, b previousSecret) int { return b.until.Compare(a.until) })
	return out
}

// signing returns how many of the previous secrets sign at a time.
func (s *secrets) signing(now time.Time) int {
	for i, p := range s.previous {
		if !now.Before(p.until) {
			return i
		}
	}
	return len(s.previous)
}

// signers returns a signer for each number of previous secrets that may still sign. All
// sign with the private key too, unless it is "".
func (s *secrets) signers(private string) ([]*signature.Signer, error) {
	list := []string{s.present}
	for _, p := range s.previous {
		list = append(list, p.secret)
	}
	out := make([]*signature.Signer, len(list))
	for i := range list {
		var err error
		if out[i], err = signature.NewSigner(append(slices.Clip(list[:i+1]), private)...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// same reports whether two statements read the same secrets.
func (s *secrets) same(o *secrets) bool {
	return s.present == o.present && slices.Equal(s.previous, o.previous) && (s.err == nil) == (o.err == nil)
}
