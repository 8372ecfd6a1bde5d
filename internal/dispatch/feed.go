package dispatch

import (
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Owns says that a webhook's partition is this process's.
func (d *Dispatcher) Owns(webhook events.WebhookID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Partitions()[events.Partition(webhook)]
}

// Full says that a webhook's lane is here and has no room.
func (d *Dispatcher) Full(webhook events.WebhookID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Full(webhook)
}

// Due says that a new row of a webhook is due.
func (d *Dispatcher) Due(webhook events.WebhookID) {
	d.metrics.released.Inc()
	d.hint(webhook)
}

// hint tells the scheduler that a webhook has a row that is due now.
func (d *Dispatcher) hint(webhook events.WebhookID) {
	d.input(func(s *scheduler.Scheduler, now scheduler.Now) { d.due(s, now, webhook, now.Latest) })
}

// due tells the scheduler that a webhook may have a row due at a time. d.mu must be
// held: settings that were read before could be older than a change that the scheduler
// has been told of, and a new lane would keep them.
func (d *Dispatcher) due(s *scheduler.Scheduler, now scheduler.Now, webhook events.WebhookID, at int64) {
	if e := d.registry.Get(webhook); e != nil {
		w := scheduled(e)
		s.Due(now, &w, at)
	}
}

// feedBatch bounds how many deliveries are added under one lock.
const feedBatch = 128

// Feed puts new deliveries from the fan-out of this process into the lanes of
// the partitions that it owns. It returns the indexes of those that it did not
// take. It does not wait: what a lane has no room for goes by another way.
func (d *Dispatcher) Feed(batch []subscribers.Leased) (left []int) {
	valid := d.owner.leaseValid()
	for from := 0; from < len(batch); from += feedBatch {
		left = d.feed(batch, from, min(from+feedBatch, len(batch)), valid, left)
	}
	return left
}

// feed does the same with a part of the batch, and appends to left.
func (d *Dispatcher) feed(batch []subscribers.Leased, from, to int, valid bool, left []int) []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	var heads webhookrequest.HeadReader
	for i := from; i < to; i++ {
		e := d.registry.Get(batch[i].WebhookID)
		if !valid || e == nil || e.Deleted || e.Strict {
			left = append(left, i)
			continue
		}
		q, w := newDelivery(&batch[i], fromFanout, &heads), scheduled(e)
		switch d.sched.Add(now, &q.Delivery, &w) {
		case scheduler.Queued, scheduler.Duplicate:
		case scheduler.Full:
			d.release(q)
		case scheduler.Suspect:
			d.renewFirst(q)
		case scheduler.Busy, scheduler.Foreign, scheduler.Ended:
			left = append(left, i)
		}
	}
	d.advance(now)
	return left
}
