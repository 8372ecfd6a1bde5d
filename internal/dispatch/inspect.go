package dispatch

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// answerLanes answers questions about lanes from other processes: the request
// comes on [events.AskLane]'s subject, and the partition's owner alone answers.
func (d *Dispatcher) answerLanes() (*nats.Subscription, error) {
	return d.nc.Subscribe(events.AskLanePrefix+"*", func(m *nats.Msg) {
		id, err := events.Parse[events.WebhookKind](strings.TrimPrefix(m.Subject, events.AskLanePrefix))
		if err != nil {
			return
		}
		state, mine := d.sched.inspect(id)
		if !mine {
			return
		}
		state.Owner = d.o.Name
		if body, err := json.Marshal(state); err == nil {
			_ = m.Respond(body)
		}
	})
}

// inspect gives a lane's state; false where the partition is not owned.
func (s *scheduler) inspect(id events.WebhookID) (subscribers.LaneState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := events.Partition(id)
	out := subscribers.LaneState{WebhookID: id, Partition: p, State: subscribers.LaneIdle}
	if !s.owned[p] {
		return out, false
	}
	l := s.lanes[id]
	if l == nil {
		return out, true
	}
	now := time.Now()
	out.Window, out.InFlight, out.Queued = l.cap(), l.inFlight, l.queued()
	out.PerSecond, out.FailuresInARow = l.drained, l.failures
	if now.Sub(l.drainedAt) > 5*time.Second {
		out.PerSecond = 0
	}
	if l.nextDue != 0 {
		t := time.UnixMicro(l.nextDue).UTC()
		out.NextDue = &t
	}
	if now.Before(l.restUntil) {
		t := l.restUntil.UTC()
		out.RestsUntil = &t
	}
	switch {
	case !l.entry.Enabled || l.entry.Deleted:
		out.State = subscribers.LaneDisabled
	case l.open:
		out.State = subscribers.LaneProbing
	case out.RestsUntil != nil:
		out.State = subscribers.LaneResting
	case l.inFlight+l.queued() > 0:
		out.State = subscribers.LaneActive
	}
	return out, true
}

// oldestDue is how long the oldest row that could go has been due.
func (s *scheduler) oldestDue() time.Duration {
	now := time.Now()
	oldest := time.Duration(0)
	for _, l := range s.lanes {
		if l.nextDue == 0 || l.open || !l.entry.Enabled || now.Before(l.restUntil) {
			continue
		}
		oldest = max(oldest, -s.clock.until(l.nextDue))
	}
	return oldest
}
