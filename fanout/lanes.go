package fanout

import (
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Lanes are the queues of the dispatcher in the same process, one for each
// webhook.
type Lanes interface {
	// Owns reports whether the webhook's deliveries are this process's.
	Owns(webhook events.WebhookID) bool
	// Full reports whether the webhook's lane is in this process and has no room.
	Full(webhook events.WebhookID) bool
	// Due announces a new row that is due in the table. The lane fetches it once
	// it has room.
	Due(webhook events.WebhookID)
	// Feed offers new deliveries, leased and with their envelopes. It returns the
	// indexes of those that it did not take, because another replica owns them or
	// their lane is full. They travel through the broker.
	Feed(new []subscribers.Leased) (left []int)
	// Rank returns the dispatcher's place among all, from 0, and a channel that
	// closes when the place changes. Rank 0 fans out everything while it keeps up.
	Rank() (rank int, changed <-chan struct{})
}
