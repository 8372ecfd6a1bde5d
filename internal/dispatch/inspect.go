package dispatch

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// answerLanes answers questions about lanes from other processes. The request
// comes on the subject of [events.AskLane]; the partition's owner alone answers.
func (d *Dispatcher) answerLanes() (*nats.Subscription, error) {
	return d.nc.Subscribe(events.AskLanePrefix+"*", func(m *nats.Msg) {
		id, err := events.Parse[events.WebhookKind](strings.TrimPrefix(m.Subject, events.AskLanePrefix))
		if err != nil {
			return
		}
		state, mine := d.inspect(id)
		if !mine {
			return
		}
		if body, err := json.Marshal(state); err == nil {
			_ = m.Respond(body)
		}
	})
}

var laneStates = [...]string{
	scheduler.LaneIdle: subscribers.LaneIdle, scheduler.LaneActive: subscribers.LaneActive, scheduler.LaneResting: subscribers.LaneResting,
	scheduler.LaneProbing: subscribers.LaneProbing, scheduler.LaneDisabled: subscribers.LaneDisabled,
}

// inspect returns a lane's state; false where the partition is not owned.
func (d *Dispatcher) inspect(id events.WebhookID) (subscribers.LaneState, bool) {
	d.mu.Lock()
	l, mine := d.sched.Inspect(d.clock.now(), id)
	d.mu.Unlock()
	out := subscribers.LaneState{
		WebhookID: id, Owner: d.o.Name, Partition: events.Partition(id), State: laneStates[l.State],
		Window: l.Window, InFlight: l.InFlight, Queued: l.Queued, PerSecond: l.PerSecond, FailuresInARow: l.FailuresInARow,
	}
	if l.NextDue != 0 {
		t := time.UnixMicro(l.NextDue).UTC()
		out.NextDue = &t
	}
	if !l.RestsUntil.IsZero() {
		t := l.RestsUntil.UTC()
		out.RestsUntil = &t
	}
	return out, mine
}
