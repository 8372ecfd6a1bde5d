package events

import (
	"fmt"
	"slices"
	"strings"
)

// Type is an event's type, such as "email.received".
type Type string

// The event catalogue. A new type is a line here and a line in [Catalogue].
const (
	EmailReceived        Type = "email.received"
	EmailSent            Type = "email.sent"
	EmailPendingApproval Type = "email.pending_approval"
	EmailApproved        Type = "email.approved"
	EmailRejected        Type = "email.rejected"
	EmailDelivered       Type = "email.delivered"
	EmailBounced         Type = "email.bounced"
	EmailComplained      Type = "email.complained"

	// The operational ones, which Fanmail tells about itself.

	// WebhookDisabled: a webhook was disabled automatically.
	WebhookDisabled Type = "webhook.disabled"
	// WebhookRecovered: a webhook that had been disabled automatically and was
	// enabled again has delivered for the first time since.
	WebhookRecovered Type = "webhook.recovered"
	// DeliveryExhausted: a delivery ended as failed by its last attempt.
	DeliveryExhausted Type = "delivery.exhausted"
)

var catalogue = []Type{
	EmailReceived, EmailSent, EmailPendingApproval, EmailApproved, EmailRejected,
	EmailDelivered, EmailBounced, EmailComplained,
	WebhookDisabled, WebhookRecovered, DeliveryExhausted,
}

var operational = []Type{WebhookDisabled, WebhookRecovered, DeliveryExhausted}

// Catalogue lists the known types.
func Catalogue() []Type { return slices.Clone(catalogue) }

// Operational lists the types that Fanmail tells about itself.
func Operational() []Type { return slices.Clone(operational) }

// Operational says whether the type is one that Fanmail tells about itself.
func (t Type) Operational() bool { return slices.Contains(operational, t) }

// Known says whether the type is in the catalogue.
func (t Type) Known() bool { return slices.Contains(catalogue, t) }

// UnknownTypeError is the answer to a type that the catalogue lacks.
type UnknownTypeError struct{ Type Type }

// Error names the type and lists the known ones.
func (e *UnknownTypeError) Error() string {
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = string(t)
	}
	return fmt.Sprintf("unknown event type %q; known types: %s", clip(string(e.Type), 64), strings.Join(names, ", "))
}
