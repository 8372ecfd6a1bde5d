package dispatch

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
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
	if e := d.registry.Get(id); e != nil && e.Enabled && !e.Deleted {
		switch {
		case e.Pull:
			out.State = subscribers.LanePolled
		case e.Paused:
			out.State = subscribers.LanePaused
		}
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

// answerActivity answers what this process did lately. The request comes on the subject
// of this dispatcher's id.
func (d *Dispatcher) answerActivity() (*nats.Subscription, error) {
	return d.nc.Subscribe(events.AskDispatcherPrefix+uuid(d.owner.id), func(m *nats.Msg) {
		q, err := activity.DecodeRequest(m.Data)
		if err != nil {
			return
		}
		if body, err := json.Marshal(d.answer(q)); err == nil {
			_ = m.Respond(body)
		}
	})
}

func (d *Dispatcher) answer(q activity.Request) activity.Answer {
	a := activity.Answer{ID: uuid(d.owner.id), Name: d.o.Name, Minutes: d.o.Activity.Minutes(), Rows: d.o.Activity.Top(q)}
	a.Lately, a.Seconds = d.o.Activity.Lately()
	d.mu.Lock()
	now := d.clock.now()
	held, survey := d.sched.Stats(now), d.sched.Survey(now, activity.MostBehind)
	d.mu.Unlock()
	a.Holding = activity.Holding{
		Lanes: held.Lanes, InFlight: held.InFlight, Queued: held.Queued, OpenBreakers: held.OpenBreakers, Partitions: held.OwnedPartitions,
		Slots: d.o.Slots, SlowSlots: d.o.SlowSlots, Behind: survey.Behind, OldestDueMS: held.OldestDue.Milliseconds(),
		PastBroker: d.o.PastBroker != nil && d.o.PastBroker(), Late: concerns(survey.Late), Probing: concerns(survey.Probing),
	}
	return a
}

func concerns(list []scheduler.Concern) []activity.Lane {
	var out []activity.Lane
	for _, c := range list {
		l := activity.Lane{Webhook: c.Webhook.String(), Tenant: c.Tenant.String(), Failures: c.FailuresInARow, Due: c.Due}
		if !c.RestsUntil.IsZero() {
			l.RestsUntil = c.RestsUntil.UnixMicro()
		}
		out = append(out, l)
	}
	return out
}
