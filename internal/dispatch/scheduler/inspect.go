package scheduler

import (
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Stats counts what the scheduler holds.
type Stats struct {
	Lanes, InFlight, Queued, OpenBreakers, OwnedPartitions int
	// OldestDue is how long the oldest row that may be attempted has been due. Lanes
	// that rest, are disabled or have their breaker open do not count.
	OldestDue time.Duration
}

// Stats reads all lanes.
func (s *Scheduler) Stats(now Now) Stats {
	out := Stats{Lanes: len(s.lanes), InFlight: s.flying, Queued: s.queued}
	for _, own := range s.owned {
		if own {
			out.OwnedPartitions++
		}
	}
	for _, l := range s.lanes {
		if l.breaker.open() {
			if l.tenure == tenureOwned {
				out.OpenBreakers++
			}
			continue
		}
		if l.fetch.due != 0 && l.webhook.Status == Active && !now.Time.Before(l.restUntil) {
			out.OldestDue = max(out.OldestDue, -now.until(l.fetch.due))
		}
	}
	return out
}

// Concern is a lane that needs attention.
type Concern struct {
	Webhook        events.WebhookID
	Tenant         events.TenantID
	FailuresInARow int
	RestsUntil     time.Time // zero: it does not rest
	Due            int64     // since when a row waits in the table, in Unix microseconds; 0: none does
}

// Survey is what needs attention.
type Survey struct {
	// Behind counts the lanes with due rows that wait in the table.
	Behind int
	// Late are those of them that have waited longest. Probing are the lanes with an open
	// breaker that have failed most often.
	Late, Probing []Concern
}

// Survey reads all lanes. Each list has at most so many.
func (s *Scheduler) Survey(now Now, most int) Survey {
	var out Survey
	for _, l := range s.lanes {
		if l.tenure != tenureOwned || l.webhook.Status != Active {
			continue
		}
		late := l.fetch.due != 0 && l.fetch.due <= now.Latest
		if !late && !l.breaker.open() {
			continue
		}
		c := Concern{Webhook: l.webhook.ID, Tenant: l.webhook.TenantID, FailuresInARow: l.breaker.failures, Due: l.fetch.due}
		if now.Time.Before(l.restUntil) {
			c.RestsUntil = l.restUntil
		}
		if l.breaker.open() {
			out.Probing = insert(out.Probing, c, most, func(a, b *Concern) bool { return a.FailuresInARow > b.FailuresInARow })
		}
		if late {
			out.Behind++
			out.Late = insert(out.Late, c, most, func(a, b *Concern) bool { return a.Due < b.Due })
		}
	}
	return out
}

// insert keeps the first of a sorted list.
func insert(list []Concern, c Concern, most int, before func(a, b *Concern) bool) []Concern {
	at := len(list)
	for at > 0 && before(&c, &list[at-1]) {
		at--
	}
	if at == most {
		return list
	}
	if len(list) == most {
		list = list[:most-1]
	}
	return slices.Insert(list, at, c)
}

// Partitions returns the owned partitions.
func (s *Scheduler) Partitions() [events.Partitions]bool { return s.owned }

// Unrecorded counts the deliveries of a partition that are in flight or whose
// row is being written.
func (s *Scheduler) Unrecorded(partition int) int {
	n := 0
	for _, d := range s.held {
		if d.phase != phaseQueued && events.Partition(d.WebhookID) == partition {
			n++
		}
	}
	return n
}

// Leased counts the rows that fetches have leased since [New].
func (s *Scheduler) Leased() int { return s.leased }

// Settled says that nothing is left to do now: no attempt is in flight, no row
// is being written, and what is due has to wait: its lane rests or is disabled,
// or its strict line waits for an earlier event.
func (s *Scheduler) Settled(now Now) bool {
	if s.flying > 0 || s.fetching > 0 || len(s.held) > s.queued {
		return false
	}
	for _, l := range s.lanes {
		if l.heldBack(now.Time) {
			continue
		}
		if l.queued() > 0 || l.fetch.due != 0 && l.fetch.due <= now.Latest {
			return false
		}
	}
	return true
}

// LaneState is one word for what a lane does.
type LaneState uint8

// The states of a lane.
const (
	LaneIdle LaneState = iota
	LaneActive
	LaneResting
	LaneProbing // the breaker is open
	LaneDisabled
)

// Lane is the state of a webhook's lane.
type Lane struct {
	State                    LaneState
	Window, InFlight, Queued int
	PerSecond                float64 // completions
	FailuresInARow           int
	RestsUntil               time.Time // zero: it does not rest
	NextDue                  int64     // Unix microseconds; 0: none is known
}

// rateStale is the age at which an observed rate says nothing any more.
const rateStale = 5 * time.Second

// Inspect returns the state of a webhook's lane; false where its partition is
// not owned.
func (s *Scheduler) Inspect(now Now, id events.WebhookID) (Lane, bool) {
	if !s.owns(id) {
		return Lane{}, false
	}
	l := s.lanes[id]
	if l == nil {
		return Lane{}, true
	}
	out := Lane{
		Window: l.cap(), InFlight: l.inFlight, Queued: l.queued(), PerSecond: l.rate.perSecond,
		FailuresInARow: l.breaker.failures, NextDue: l.fetch.due,
	}
	if now.Time.Sub(l.rate.at) > rateStale {
		out.PerSecond = 0
	}
	if now.Time.Before(l.restUntil) {
		out.RestsUntil = l.restUntil
	}
	switch {
	case l.webhook.Status != Active:
		out.State = LaneDisabled
	case l.breaker.open():
		out.State = LaneProbing
	case !out.RestsUntil.IsZero():
		out.State = LaneResting
	case l.inFlight+l.queued() > 0:
		out.State = LaneActive
	}
	return out, true
}
