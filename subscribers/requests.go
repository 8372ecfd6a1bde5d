package subscribers

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// settings are what requests need beside the URL, with their secrets.
func (w *Webhook) settings() endpoint.Settings {
	return endpoint.Settings{Headers: w.Headers, Auth: w.Auth, CA: w.CA, Subject: w.Subject, SigningKey: w.signingKey}
}

// AddHeaders sets the headers that the webhook's settings add to its requests, with every secret masked.
func (w *Webhook) AddHeaders(h http.Header) {
	s := w.settings()
	attempt.AddMasked(h, &s)
}

func (w *Webhook) setSettings(s endpoint.Settings) error {
	w.Headers, w.Auth, w.CA, w.Subject, w.signingKey = s.Headers, s.Auth, s.CA, s.Subject, s.SigningKey
	w.PublicKey, w.Ed25519 = "", s.SigningKey != ""
	if !w.Ed25519 {
		return nil
	}
	var err error
	w.PublicKey, err = signature.PublicKey(s.SigningKey)
	return err
}

// masked returns the webhook without secrets.
func (w Webhook) masked() Webhook {
	s := w.settings()
	s = s.Masked()
	w.Headers, w.Auth, w.signingKey, w.SigningSecret = s.Headers, s.Auth, "", ""
	return w
}

// normalizeSettings checks what requests need beside the URL, replaces the masks by the
// secrets of before, and makes or removes the key pair.
func (w *Webhook) normalizeSettings(l Limits, before *Webhook) error {
	s, was := w.settings(), before.settings()
	given := s
	if err := s.Keep(&was); err != nil {
		return err
	}
	if err := s.Normalize(time.Now(), l.NormalizeURL); err != nil {
		return err
	}
	if err := s.CheckToken(&given, &was); err != nil {
		return err
	}
	switch {
	case !w.Ed25519:
		s.SigningKey = ""
	case was.SigningKey != "":
		s.SigningKey = was.SigningKey
	default:
		s.SigningKey, _ = signature.NewKeyPair()
	}
	return w.setSettings(s)
}

// sealSettings returns the settings as they are stored; nil if there are none.
func sealSettings(ctx context.Context, tx pgx.Tx, keys *keyring.Keyring, w *Webhook) (*string, error) {
	s := w.settings()
	plain, err := s.Encode()
	if err != nil || plain == nil {
		return nil, err
	}
	if err := keys.Enroll(ctx, tx); err != nil {
		return nil, err
	}
	sealed, err := keys.Seal(string(plain), secretPlace(columnSettings, w.ID))
	if err != nil {
		return nil, err
	}
	return &sealed, nil
}

// openSettings reads stored settings.
func openSettings(keys *keyring.Keyring, id events.WebhookID, stored string) (endpoint.Settings, error) {
	if stored == "" {
		return endpoint.Settings{}, nil
	}
	plain, err := keys.Open(stored, secretPlace(columnSettings, id))
	if err != nil {
		return endpoint.Settings{}, err
	}
	return endpoint.Decode([]byte(plain))
}
