package dispatch

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// source says how a delivery came to this process.
type source uint8

const (
	fromFanout source = iota // of this process
	fromStream
	fromTable
)

// delivery is a leased row that this process holds.
type delivery struct {
	scheduler.Delivery
	createdAt   time.Time
	eventID     events.ID
	maxAttempts int
	traceparent string // "": not traced
	head        *webhookrequest.Head
	source      source
	message     *message           // nil unless it came fromStream
	webhook     *subscribers.Entry // as it was when the attempt began
	tenure      *tenure            // under which its message came or, later, its attempt began; nil: none
	pause       time.Duration      // for which its row waits once it is released
	lost        bool               // what is to be sent can never be read
}

func newDelivery(l *subscribers.Leased, from source, heads *webhookrequest.HeadReader) *delivery {
	q := &delivery{
		Delivery: scheduler.Delivery{
			ID: l.ID, WebhookID: l.WebhookID, Lease: l.Lease, Attempts: l.Attempts, IsReplay: l.IsReplay, Envelope: l.Envelope, Own: from == fromTable,
		},
		createdAt: l.CreatedAt, eventID: l.EventID, maxAttempts: l.MaxAttempts, traceparent: l.Traceparent, source: from,
		head: heads.Read(l.Envelope),
	}
	q.Payload = q
	return q
}

func (q *delivery) ref() subscribers.Ref { return subscribers.Ref{ID: q.ID, CreatedAt: q.createdAt} }

// finished says that the delivery is written or released. Its message counts that once.
func (q *delivery) finished() {
	q.message.done()
	q.message = nil
}

// scheduled returns the settings that the scheduler needs of a webhook.
func scheduled(e *subscribers.Entry) scheduler.Webhook {
	w := scheduler.Webhook{
		ID: e.ID, TenantID: e.TenantID, Strict: e.Strict, MaxInFlight: e.MaxInFlight, RateLimit: e.RateLimit, Payload: e,
	}
	if e.Timeout > subscribers.DefaultTimeout {
		w.LeaseLeft = e.Timeout + time.Second
	}
	switch {
	case e.Deleted:
		w.Status = scheduler.Deleted
	case !e.Enabled, e.Paused, e.Pull, e.Locked(): // the deliveries wait
		w.Status = scheduler.Disabled
	}
	return w
}
