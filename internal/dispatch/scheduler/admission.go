package scheduler

import "github.com/fanmail-dev/fanmail/events"

// Admission is the answer to a delivery that is offered.
type Admission uint8

// The answers of [Scheduler.Add].
const (
	// Queued: the delivery is held until [Scheduler.Recorded] is called.
	Queued Admission = iota
	// Duplicate: the delivery is held already. Drop it.
	Duplicate
	// Full: the lane has no room. Release the delivery.
	Full
	// Busy: the lane has no room and makes some soon. Wait for
	// [RoomAvailable] and try again, or release the delivery.
	Busy
	// Foreign: the partition is not owned. Its owner must get the delivery.
	Foreign
	// Ended: the webhook is deleted. End the delivery.
	Ended
	// Suspect: somebody else may have had the row since its lease began; see
	// [Scheduler.Suspect]. Renew the lease. If it was still the row's, add the
	// delivery again with the new lease, as its own.
	Suspect
)

// Add offers a leased delivery to its webhook's lane. w is the webhook's
// settings, which a lane that exists already does not take over.
func (s *Scheduler) Add(now Now, d *Delivery, w *Webhook) Admission {
	if h := s.held[d.ID]; h != nil {
		if d.Lease > h.Lease { // the row was fetched again
			h.supersede(d.Lease)
		}
		return Duplicate
	}
	switch {
	case s.mode >= modeStopping, !s.owns(w.ID):
		return Foreign
	case w.Status == Deleted:
		return Ended
	case !d.Own && s.Suspected(events.Partition(w.ID), d.Lease):
		return Suspect
	}
	l := s.laneOf(w, now)
	if w.Status == Disabled {
		return Full
	}
	if l.quick() && l.queued() >= l.bound() {
		l.room = roomAwaited
		return Busy
	}
	if s.noRoom(l) {
		return Full
	}
	d.lane, d.phase = l, phaseQueued
	s.held[d.ID] = d
	s.budget.add(d.Envelope)
	l.queueOf(d).push(d)
	s.queued++
	s.consider(l, now)
	return Queued
}

// Suspect says that somebody else may have had the rows of a partition whose lease ends
// before a time, in Unix microseconds. Add queues none of them, unless the lease is
// this process's own.
func (s *Scheduler) Suspect(partition int, before int64) {
	s.suspect[partition] = max(s.suspect[partition], before)
}

// Suspected says that a partition's lease that ends at a time is suspect.
func (s *Scheduler) Suspected(partition int, end int64) bool { return end < s.suspect[partition] }

// noRoom says that the lane can take no more deliveries.
func (s *Scheduler) noRoom(l *lane) bool {
	return l.queued() >= l.bound() || l.queued() > 0 && s.budget.exhausted()
}

// Full says that a delivery of the webhook would only be released.
func (s *Scheduler) Full(id events.WebhookID) bool {
	l := s.lanes[id]
	if l == nil || l.tenure == tenureLost || s.mode >= modeStopping || l.webhook.Status == Deleted {
		return false
	}
	return l.webhook.Status == Disabled || s.noRoom(l) && !l.quick()
}

// Holds says that the delivery is held.
func (s *Scheduler) Holds(id events.DeliveryID) bool { return s.held[id] != nil }
