package operational

import "time"

// About names the webhook that an operational event is about. The webhooks of an
// operator's tenant get the events about the webhooks of all tenants.
type About struct {
	// TenantID is the tenant of the webhook, "ten_…".
	TenantID string `json:"tenant_id"`
	// WebhookID is the webhook, "wh_…".
	WebhookID string `json:"webhook_id"`
	// WebhookURL is the webhook's URL at the time of the event.
	WebhookURL string `json:"webhook_url"`
	// WebhookDescription is the webhook's description at the time of the event; "" for none.
	WebhookDescription string `json:"webhook_description"`
}

// WebhookFailing is the "data" of a webhook.failing event: no delivery to the webhook
// has succeeded for an hour, and at least one has failed. It is still tried.
type WebhookFailing struct {
	About
	// FailingSince is when the oldest of these deliveries began, in UTC.
	FailingSince time.Time `json:"failing_since"`
	// LastStatusCode is the HTTP status of that delivery's last answer; 0 if no answer
	// came.
	LastStatusCode int `json:"last_status_code"`
	// LastError says in one line why its last attempt failed; never empty.
	LastError string `json:"last_error"`
}

// WebhookDisabled is the "data" of a webhook.disabled event: a webhook was
// disabled automatically. Its deliveries wait until it is enabled again.
type WebhookDisabled struct {
	About
	// Reason is the webhook's disabled_reason: one line for people, never empty.
	Reason string `json:"reason"`
}

// WebhookRecovered is the "data" of a webhook.recovered event. A webhook was failing, or
// was disabled automatically and enabled again, and has now delivered for the first time
// since.
type WebhookRecovered struct {
	About
}

// DeliveryExhausted is the "data" of a delivery.exhausted event: a delivery
// ended as failed, by its last attempt or by an answer of 410.
type DeliveryExhausted struct {
	About
	// DeliveryID is the delivery, "whd_…".
	DeliveryID string `json:"delivery_id"`
	// EventID is the event that was not delivered, "evt_…".
	EventID string `json:"event_id"`
	// EventType is its type, such as "email.received".
	EventType string `json:"event_type"`
	// MessageID is the message that it is about, "msg_…"; "" for none.
	MessageID string `json:"message_id"`
	// Attempts is how many attempts were made, 1 or more.
	Attempts int `json:"attempts"`
	// LastStatusCode is the HTTP status of the last attempt's answer; 0 if no answer
	// came.
	LastStatusCode int `json:"last_status_code"`
	// LastError says in one line why the last attempt failed; never empty.
	LastError string `json:"last_error"`
}
