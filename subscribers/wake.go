package subscribers

import (
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// WakeRegistry hints to the other processes, after a commit, that webhooks
// have changed. Without the hint they read the change at their next refresh.
// A nil connection does nothing.
func WakeRegistry(nc *nats.Conn) {
	if nc != nil {
		_ = nc.Publish(events.WakeWebhooks, nil)
	}
}

// WakePolls hints to those who wait for deliveries of a webhook of [KindPull], after a
// commit, that some are due. Without the hint they look again after some seconds. A nil
// connection does nothing.
func WakePolls(nc *nats.Conn, id events.WebhookID) {
	if nc != nil {
		_ = nc.Publish(events.WakePolls(id), nil)
	}
}

// WakeDue is [WakeLane] and [WakePolls], for callers that do not know the webhook's kind.
func WakeDue(nc *nats.Conn, id events.WebhookID) {
	WakeLane(nc, id)
	WakePolls(nc, id)
}

// WakeLane hints to the owner of a webhook's partition, after a commit, that
// deliveries of the webhook are due. Without the hint it finds them at its next
// search. A nil connection does nothing.
func WakeLane(nc *nats.Conn, id events.WebhookID) {
	if nc != nil {
		_ = nc.Publish(events.WakeLane(id), []byte(id.String()))
	}
}
