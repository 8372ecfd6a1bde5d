package subscribers

import (
	"cmp"
	"fmt"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// checkKind checks the settings that depend on the kind; was is the webhook before the change, or zero. The error is an
// [*events.FieldError].
func (w *Webhook) checkKind(was *Webhook) error {
	switch {
	case w.Kind != KindPush && w.Kind != KindPull && w.Kind != KindNATS:
		return &events.FieldError{Field: "kind", Reason: fmt.Sprintf("is %.20q; it must be %q, %q or %q", w.Kind, KindPush, KindPull, KindNATS)}
	case was.Kind != "" && w.Kind != was.Kind:
		return &events.FieldError{Field: "kind", Reason: "can't be changed; create another webhook"}
	case w.Kind != KindPull && w.URL == "":
		return &events.FieldError{Field: "url", Reason: "is required, unless kind is \"pull\""}
	case w.Kind == KindNATS:
		return w.checkBroker()
	case w.Subject != "":
		return &events.FieldError{Field: "subject", Reason: "is for a webhook of kind \"nats\""}
	case w.Kind == KindPush:
		return w.checkPush()
	}
	for _, s := range []struct {
		field string
		set   bool
	}{
		{"url", w.URL != ""},
		{"headers", len(w.Headers) > 0},
		{"auth", w.Auth != nil},
		{"ca", w.CA != ""},
		{"timeout", w.Timeout != 0},
		{"max_in_flight", w.MaxInFlight != was.MaxInFlight},
		{"rate_limit", w.RateLimit != 0},
		{"ed25519", w.Ed25519},
		{"envelope", w.Envelope != ""},
		{"signing_secret", w.SigningSecret != ""},
		{"retry.final", w.Retry != nil && len(w.Retry.Final) > 0},
	} {
		if s.set {
			return &events.FieldError{Field: s.field, Reason: "is about POSTs, which a webhook of kind \"pull\" does not get"}
		}
	}
	if w.Paused {
		return &events.FieldError{Field: "paused", Reason: "is for POSTs; deliveries of a webhook of kind \"pull\" wait until they are polled"}
	}
	return nil
}

// checkPush checks that nothing is set that is for a broker.
func (w *Webhook) checkPush() error {
	switch {
	case attempt.BrokerURL(w.URL):
		return &events.FieldError{Field: "url", Reason: "is that of a NATS broker, which is for a webhook of kind \"nats\""}
	case w.Auth != nil && w.Auth.Type == endpoint.Creds:
		return &events.FieldError{Field: "auth.type", Reason: fmt.Sprintf("is %q, which is for a webhook of kind %q", endpoint.Creds, KindNATS)}
	}
	return nil
}

// checkBroker checks that a subject is set, and nothing that is about POSTs alone.
func (w *Webhook) checkBroker() error {
	switch {
	case !attempt.BrokerURL(w.URL):
		return &events.FieldError{Field: "url", Reason: "must be the URL of a NATS broker, such as tls://broker.example.com:4222"}
	case w.Subject == "":
		return &events.FieldError{Field: "subject", Reason: "is required for a webhook of kind \"nats\""}
	case len(w.Headers) > 0:
		return &events.FieldError{Field: "headers", Reason: "is about POSTs, which a webhook of kind \"nats\" does not get"}
	case w.Auth != nil && w.Auth.Type == endpoint.OAuth2:
		return &events.FieldError{Field: "auth.type", Reason: fmt.Sprintf("is %q, which is about POSTs; a broker takes %q, %q and %q", endpoint.OAuth2, endpoint.Basic, endpoint.MTLS, endpoint.Creds)}
	}
	return nil
}

// complete checks the kind of a new webhook, and sets the defaults of what is not given.
func (w *Webhook) complete(l Limits) error {
	w.Kind = cmp.Or(w.Kind, KindPush)
	if err := w.checkKind(&Webhook{}); err != nil {
		return err
	}
	w.MaxInFlight, w.Ordering = cmp.Or(w.MaxInFlight, l.MaxInFlight), cmp.Or(w.Ordering, OrderingNone)
	return nil
}

// toSend normalizes the URL of a new webhook and returns its signing secret; "" for one that is polled.
func (w *Webhook) toSend(l Limits) (secret string, err error) {
	if w.Kind == KindPull {
		return "", nil
	}
	w.URL, err = l.normalizeWebhookURL(w.URL)
	return cmp.Or(w.SigningSecret, signature.NewSecret()), err
}
