package scheduler

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Status says what happens to a webhook's deliveries.
type Status uint8

// The statuses of a webhook.
const (
	// Active webhooks get their deliveries.
	Active Status = iota
	// Disabled webhooks' deliveries wait in the table. Paused ones have this status too,
	// those that are polled, and those whose secrets can't be opened.
	Disabled
	// Deleted webhooks' deliveries end as failed.
	Deleted
)

// Webhook is what the scheduler knows of a webhook.
type Webhook struct {
	ID       events.WebhookID
	TenantID events.TenantID
	Status   Status
	// Strict webhooks get one delivery at a time, in the table's order.
	Strict bool
	// MaxInFlight bounds the attempts in flight. It is at least 1.
	MaxInFlight int
	// RateLimit bounds the attempts per second. Zero: no limit.
	RateLimit int
	// LeaseLeft is what a delivery's lease must have left where an attempt starts, if
	// it is more than [Options.LeaseLeft].
	LeaseLeft time.Duration
	// Payload is the caller's; the scheduler does not read it.
	Payload any
}
