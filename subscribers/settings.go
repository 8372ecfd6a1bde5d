package subscribers

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// EveryType selects every event type, operational and later ones included.
const EveryType = events.EveryType

// The types of [Auth].
const (
	AuthBasic  = endpoint.Basic
	AuthOAuth2 = endpoint.OAuth2
	AuthMTLS   = endpoint.MTLS
	AuthCreds  = endpoint.Creds
)

// The types of [Retry].
const (
	RetryList        = retry.List
	RetryExponential = retry.Exponential
)

// Masked stands for a secret of a webhook's settings in what is read. In a change it
// means that the secret stays as it is.
const Masked = endpoint.Mask

// Auth are the credentials that a webhook's endpoint asks for.
type Auth = endpoint.Auth

// Retry is a webhook's own retry policy.
type Retry = retry.Policy

// Limits of an attempt's time, of a signing secret that is brought along, and of an older envelope. An error
// that a limit causes names it.
const (
	// DefaultTimeout bounds an attempt, from dialling to the end of the answer, unless
	// the webhook has a timeout of its own.
	DefaultTimeout = 15 * time.Second
	// MaxTimeout is the longest timeout that a webhook may set.
	MaxTimeout = 30 * time.Second
	// MinSecretLength and MaxSecretLength bound a signing secret.
	MinSecretLength = 16
	MaxSecretLength = 200
	// EnvelopePeriod is how long a webhook gets an older envelope unless it sets a time,
	// and MaxEnvelopePeriod the longest time that it may set.
	EnvelopePeriod    = 90 * 24 * time.Hour
	MaxEnvelopePeriod = 366 * 24 * time.Hour
)

// checkAttempts checks the settings of attempts.
func checkAttempts(timeout time.Duration, policy *Retry) error {
	if err := checkTimeout(timeout); err != nil {
		return err
	}
	return checkRetry(policy)
}

func checkTimeout(d time.Duration) error {
	if d == 0 || d >= time.Second && d <= MaxTimeout && d%time.Second == 0 {
		return nil
	}
	return &events.FieldError{Field: "timeout", Reason: fmt.Sprintf("is %g s; it must be from 1 to %g, in whole seconds", d.Seconds(), MaxTimeout.Seconds())}
}

func checkRetry(p *Retry) error {
	if p == nil {
		return nil
	}
	err := p.Validate()
	if f, ok := err.(*events.FieldError); ok { //nolint:errorlint // documented, and never wrapped
		return &events.FieldError{Field: "retry." + f.Field, Reason: f.Reason}
	}
	return err
}

// EnvelopeV04 is the envelope of e2a v0.4, for receivers that can't read Fanmail's yet.
const EnvelopeV04 = "v0.4"

func checkEnvelope(form string, until *time.Time, now time.Time) error {
	switch {
	case form != "" && form != EnvelopeV04:
		return &events.FieldError{Field: "envelope", Reason: fmt.Sprintf("is %q; it must be %q, or absent for Fanmail's own", form, EnvelopeV04)}
	case until == nil:
		return nil
	case form == "":
		return &events.FieldError{Field: "envelope_until", Reason: fmt.Sprintf("is set without envelope; set envelope to %q too", EnvelopeV04)}
	case !until.After(now) || until.Sub(now) > MaxEnvelopePeriod:
		return &events.FieldError{Field: "envelope_until", Reason: fmt.Sprintf("must lie within the next %.0f days", MaxEnvelopePeriod.Hours()/24)}
	}
	return nil
}

// CheckSecret checks a signing secret that is brought along; "": none is. The error is an
// [*events.FieldError] for the field signing_secret, and shows no part of it.
func CheckSecret(secret string) error {
	fault := func(format string, args ...any) error {
		return &events.FieldError{Field: "signing_secret", Reason: fmt.Sprintf(format, args...)}
	}
	if secret == "" {
		return nil
	}
	if n := len(secret); n < MinSecretLength || n > MaxSecretLength {
		return fault("has %d characters; it must have from %d to %d", n, MinSecretLength, MaxSecretLength)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fault("holds a character that is not printable ASCII")
	}
	if strings.TrimSpace(secret) != secret {
		return fault("begins or ends with a space")
	}
	if strings.HasPrefix(secret, signature.PrivatePrefix) || strings.HasPrefix(secret, signature.PublicPrefix) {
		return fault("is a key of Ed25519; to have Fanmail sign with Ed25519, set ed25519")
	}
	if rest, ok := strings.CutPrefix(secret, signature.SecretPrefix); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err != nil || len(raw) == 0 {
			return fault("begins with %s, but no base64 follows", signature.SecretPrefix)
		}
	}
	return nil
}

// wantsEvery reports whether types select every type.
func wantsEvery(types []events.Type) bool { return slices.Contains(types, EveryType) }

// wants reports whether one of a webhook's types and patterns selects a type.
func wants(types []events.Type, t events.Type) bool {
	for _, w := range types {
		if w.Selects(t) {
			return true
		}
	}
	return false
}
