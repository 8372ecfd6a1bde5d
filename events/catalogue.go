package events

import "slices"

// Type is an event's type, such as "email.received".
type Type string

// The event catalogue: the built-in types. To add a type, declare it here and list it in catalogue.
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

	// WebhookFailing means that no delivery to a webhook has succeeded for an hour, and at least one has failed.
	WebhookFailing Type = "webhook.failing"
	// WebhookDisabled means that a webhook was disabled automatically.
	WebhookDisabled Type = "webhook.disabled"
	// WebhookRecovered means that a webhook delivered again for the first time after it was failing, or was disabled
	// automatically and enabled again.
	WebhookRecovered Type = "webhook.recovered"
	// DeliveryExhausted means that the last attempt of a delivery failed.
	DeliveryExhausted Type = "delivery.exhausted"
)

var catalogue = []Type{
	EmailReceived, EmailSent, EmailPendingApproval, EmailApproved, EmailRejected,
	EmailDelivered, EmailBounced, EmailComplained,
	EmailFailed, EmailFlagged, EmailBlocked, EmailReviewRequested, EmailReviewApproved, EmailReviewRejected,
	DomainSendingVerified, DomainSendingFailed, DomainSuppressionAdded, AgentSuppressionAdded,
	WebhookFailing, WebhookDisabled, WebhookRecovered, DeliveryExhausted,
}

var operational = []Type{WebhookFailing, WebhookDisabled, WebhookRecovered, DeliveryExhausted}

// Catalogue returns all known types. The caller may change the slice.
func Catalogue() []Type { return slices.Clone(catalogue) }

// Operational returns the operational types. The caller may change the slice.
func Operational() []Type { return slices.Clone(operational) }

// Operational reports whether only Fanmail produces events of the type.
func (t Type) Operational() bool { return slices.Contains(operational, t) }

// Known reports whether the type is in the catalogue.
func (t Type) Known() bool { return slices.Contains(catalogue, t) }
