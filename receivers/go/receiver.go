package receiver

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// DefaultMaxBody is the longest body that is read if [Config] names none: 1 MiB. An
// envelope of Fanmail has at most 256 KiB.
const DefaultMaxBody = 1 << 20

// Config is what a receiver is made of.
type Config struct {
	// Secrets are the signing secrets of the webhooks, as Fanmail shows them: at least
	// one. A request must be signed by one of them.
	Secrets []string
	// Seen drops duplicates. Nil means that each request is handled.
	Seen Seen
	// MaxBody is the longest body that is read, in bytes. Zero means [DefaultMaxBody].
	MaxBody int64
	// Logger gets a line for each request that is refused or fails. Nil means
	// [slog.Default].
	Logger *slog.Logger
}

// Receiver verifies requests. It is safe for concurrent use. Make one with [New].
type Receiver struct {
	keys    []*standardwebhooks.Webhook
	seen    Seen
	maxBody int64
	logger  *slog.Logger
}

// ErrSecret means that a secret is empty, or a key of Ed25519. Its text does not contain
// the secret.
var ErrSecret = errors.New("a signing secret is a text that is not empty, and no key of Ed25519 (whpk_, whsk_)")

// New returns a receiver. The error wraps [ErrSecret].
func New(c Config) (*Receiver, error) {
	r := &Receiver{seen: c.Seen, maxBody: c.MaxBody, logger: c.Logger}
	if r.maxBody <= 0 {
		r.maxBody = DefaultMaxBody
	}
	if r.logger == nil {
		r.logger = slog.Default()
	}
	for i, secret := range c.Secrets {
		key, err := keyOf(secret)
		if err != nil {
			return nil, fmt.Errorf("make a receiver: Secrets[%d]: %w", i, err)
		}
		r.keys = append(r.keys, key)
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("make a receiver: Secrets: %w", ErrSecret)
	}
	return r, nil
}

const secretPrefix = "whsec_"

// keyOf reads a secret. One that was brought along need not be base64 after "whsec_": its key is then its whole text.
func keyOf(secret string) (*standardwebhooks.Webhook, error) {
	if secret == "" || strings.HasPrefix(secret, "whpk_") || strings.HasPrefix(secret, "whsk_") {
		return nil, ErrSecret
	}
	if rest, ok := strings.CutPrefix(secret, secretPrefix); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err == nil && len(raw) > 0 {
			return standardwebhooks.NewWebhookRaw(raw)
		}
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}

// The reasons for which a request is refused.
var (
	// ErrSignature means that the request is not signed by one of the secrets, or not
	// within five minutes of now.
	ErrSignature = errors.New("the signature is not valid")
	// ErrEvent means that the signature is valid, and the body is no event.
	ErrEvent = errors.New("the body is no event")
)

// Verify checks the signature of a request with the exact bytes of its body, and reads
// the event. The error wraps [ErrSignature] or [ErrEvent].
func (r *Receiver) Verify(h http.Header, body []byte) (Event, error) {
	var reason error
	for _, key := range r.keys {
		err := key.Verify(body, h)
		if err == nil {
			return parse(h.Get(standardwebhooks.HeaderWebhookID), body)
		}
		reason = err
	}
	return Event{}, fmt.Errorf("%w: %w", ErrSignature, reason)
}
