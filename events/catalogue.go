package events

import (
	"fmt"
	"slices"
	"strings"
)

// Type is an event's type, such as "email.received".
type Type string

// The event catalogue. To add a type, declare it here and list it in catalogue.
const (
	EmailReceived        Type = "email.received"
	EmailSent            Type = "email.sent"
	EmailPendingApproval Type = "email.pending_approval"
	EmailApproved        Type = "email.approved"
	EmailRejected        Type = "email.rejected"
	EmailDelivered       Type = "email.delivered"
	EmailBounced         Type = "email.bounced"
	EmailComplained      Type = "email.complained"

	// Types that mail platforms produce: what became of a mail that they were to send, and what concerns their
	// sending domains and suppression lists.

	EmailFailed            Type = "email.failed"
	EmailFlagged           Type = "email.flagged"
	EmailBlocked           Type = "email.blocked"
	EmailReviewRequested   Type = "email.review_requested"
	EmailReviewApproved    Type = "email.review_approved"
	EmailReviewRejected    Type = "email.review_rejected"
	DomainSendingVerified  Type = "domain.sending_verified"
	DomainSendingFailed    Type = "domain.sending_failed"
	DomainSuppressionAdded Type = "domain.suppression_added"
	AgentSuppressionAdded  Type = "agent.suppression_added"

	// The operational types: events about Fanmail itself, which only Fanmail produces.

	// WebhookDisabled means that a webhook was disabled automatically.
	WebhookDisabled Type = "webhook.disabled"
	// WebhookRecovered means that a webhook delivered again for the first time after it was disabled automatically and
	// enabled again.
	WebhookRecovered Type = "webhook.recovered"
	// DeliveryExhausted means that the last attempt of a delivery failed.
	DeliveryExhausted Type = "delivery.exhausted"
)

var catalogue = []Type{
	EmailReceived, EmailSent, EmailPendingApproval, EmailApproved, EmailRejected,
	EmailDelivered, EmailBounced, EmailComplained,
	EmailFailed, EmailFlagged, EmailBlocked, EmailReviewRequested, EmailReviewApproved, EmailReviewRejected,
	DomainSendingVerified, DomainSendingFailed, DomainSuppressionAdded, AgentSuppressionAdded,
	WebhookDisabled, WebhookRecovered, DeliveryExhausted,
}

var operational = []Type{WebhookDisabled, WebhookRecovered, DeliveryExhausted}

// Catalogue returns all known types. The caller may change the slice.
func Catalogue() []Type { return slices.Clone(catalogue) }

// Operational returns the operational types. The caller may change the slice.
func Operational() []Type { return slices.Clone(operational) }

// Operational reports whether only Fanmail produces events of the type.
func (t Type) Operational() bool { return slices.Contains(operational, t) }

// Known reports whether the type is in the catalogue.
func (t Type) Known() bool { return slices.Contains(catalogue, t) }

// UnknownTypeError means that a type is not in the catalogue.
type UnknownTypeError struct{ Type Type }

// Error names the type and lists the known ones.
func (e *UnknownTypeError) Error() string {
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = string(t)
	}
	return fmt.Sprintf("unknown event type %q; known types: %s", clip(string(e.Type), 64), strings.Join(names, ", "))
}
