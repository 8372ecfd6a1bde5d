package dispatch

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// roomWait is how long a message waits for a quick lane before its deliveries
// are released.
const roomWait = 500 * time.Millisecond

// add offers a delivery to its lane, with its webhook's present settings; see due. room
// is closed when lanes have room.
func (d *Dispatcher) add(q *delivery) (a scheduler.Admission, room <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.tenure.ended() {
		return scheduler.Foreign, d.room // another owner may have had its message since
	}
	e := d.registry.Get(q.WebhookID)
	if e == nil {
		return scheduler.Ended, d.room // its row is gone too
	}
	w := scheduled(e)
	return d.sched.Add(d.clock.now(), &q.Delivery, &w), d.room
}

// admit queues a leased delivery, or has its row written. It does not wait for
// room, and does not start what it queues: call advance after a batch.
func (d *Dispatcher) admit(ctx context.Context, q *delivery) {
	if e := d.webhookOf(ctx, q); e != nil {
		a, _ := d.add(q)
		d.admitted(q, a)
	}
}

// admitWaiting does the same, but waits a moment for a quick lane.
func (d *Dispatcher) admitWaiting(ctx context.Context, q *delivery) {
	e := d.webhookOf(ctx, q)
	switch {
	case e == nil:
		return
	case e.Strict && !e.Deleted && q.message != nil:
		d.release(q) // it has become strict: the table says whose turn it is
		return
	}
	a, room := d.add(q)
	if a == scheduler.Busy {
		d.input(func(*scheduler.Scheduler, scheduler.Now) {})
		a = d.waitForRoom(ctx, q, room)
	}
	d.admitted(q, a)
}

// admitted follows the scheduler's answer.
func (d *Dispatcher) admitted(q *delivery, a scheduler.Admission) {
	switch a {
	case scheduler.Queued:
	case scheduler.Duplicate:
		d.metrics.duplicates.Inc()
		q.message.done()
	case scheduler.Ended:
		d.end(q, reasonDeleted, textDeleted)
	case scheduler.Suspect:
		d.renewFirst(q)
	case scheduler.Full, scheduler.Busy, scheduler.Foreign:
		// The partition may have gone while its rows were fetched: the new owner
		// need not wait for the lease to run out.
		d.release(q)
	}
}

// renewFirst has the lease of a delivery renewed before it is queued. Nothing is queued
// if the row has another lease by then.
func (d *Dispatcher) renewFirst(q *delivery) {
	if q.tenure == nil {
		q.tenure = d.owner.tenure(events.Partition(q.WebhookID))
	}
	d.outcomes.add(entry{kind: entryReclaim, d: q})
}

// waitForRoom offers a delivery to a quick lane until it fits, for roomWait at
// most.
func (d *Dispatcher) waitForRoom(ctx context.Context, q *delivery, room <-chan struct{}) scheduler.Admission {
	timer := time.NewTimer(roomWait)
	defer timer.Stop()
	for {
		select {
		case <-room:
		case <-timer.C:
			return scheduler.Full
		case <-ctx.Done():
			return scheduler.Full
		}
		var a scheduler.Admission
		if a, room = d.add(q); a != scheduler.Busy {
			return a
		}
	}
}

// webhookOf returns the delivery's webhook. One that was made a moment ago may have
// to be loaded first. Nil: there is none, and the delivery is ended, or it can't be
// loaded, and the delivery is released.
func (d *Dispatcher) webhookOf(ctx context.Context, q *delivery) *subscribers.Entry {
	if e := d.registry.Get(q.WebhookID); e != nil {
		return e
	}
	if err := d.registry.Load(ctx); err != nil {
		d.log.Warn("webhooks can't be loaded", zap.Error(err))
		d.release(q)
		return nil
	}
	e := d.registry.Get(q.WebhookID)
	if e == nil {
		d.end(q, reasonDeleted, textDeleted)
	}
	return e
}
