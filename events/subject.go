package events

import (
	"fmt"
	"strconv"
	"strings"
)

// Subjects and prefixes of subjects. The wake subjects are hints over core NATS without
// acknowledgement: work goes on without them, but later.
const (
	// EventsPrefix is the prefix of relayed events: mail.events.<tenant>.<type>. Other
	// programs may consume them.
	EventsPrefix = "mail.events."
	// IntakePrefix is the prefix of the intake subjects, on which other programs may
	// publish events: mail.intake.<tenant>.
	IntakePrefix = "mail.intake."
	// OwnIntakePrefix is the prefix of the subjects to which the accounts of producers map
	// the intake subject of their tenant, mail.intake.own.<tenant>: each has a stream of its
	// own.
	OwnIntakePrefix = IntakePrefix + "own."
	// DeadIntakePrefix is the prefix of intake messages that were rejected. The header
	// Fanmail-Reason gives the reason.
	DeadIntakePrefix = "mail.dead.intake."
	// DeliveriesPrefix is the prefix of delivery messages:
	// fanmail.deliveries.<partition>.<webhook>, or .batch instead of the webhook for a
	// message with deliveries of several.
	DeliveriesPrefix = "fanmail.deliveries."
	// WakeOutbox is the hint that the outbox has new rows.
	WakeOutbox = "fanmail.wake.outbox"
	// WakeWebhooks is the hint that webhooks have changed.
	WakeWebhooks = "fanmail.wake.webhooks"
	// WakeReplays is the hint that a replay was created or cancelled.
	WakeReplays = "fanmail.wake.replays"
	// WakeAgents is the hint that an agent has deliveries to its own webhook. The
	// payload is the agent's address.
	WakeAgents = "fanmail.wake.agents"
	// SeenFanout is the subject on which the fan-out says that it has met events which
	// were fanned out before. The payload is a JSON object; see package fanout.
	SeenFanout = "fanmail.wake.seen"
	// WakeLanePrefix is the prefix of the hint that a webhook has due deliveries in the
	// table: fanmail.wake.lane.<partition>. The payload is the webhook's id.
	WakeLanePrefix = "fanmail.wake.lane."
	// WakePollsPrefix is the prefix of the hint that a webhook has due deliveries for
	// those who poll it; the webhook's id follows. Dispatchers give it to API processes.
	WakePollsPrefix = "fanmail.polls."
	// AskLanePrefix is the prefix of requests for the state of a webhook's lane:
	// fanmail.ask.lane.<webhook>. The dispatcher that owns the lane answers.
	AskLanePrefix = "fanmail.ask.lane."
	// AskDispatcherPrefix is the prefix of requests for what a dispatcher did lately:
	// fanmail.ask.dispatcher.<id>, by its id in the table of dispatchers.
	AskDispatcherPrefix = "fanmail.ask.dispatcher."
	// AskDeliver is the subject of requests to deliver a message to its agent's own
	// webhook now. One dispatcher answers with the outcome.
	AskDeliver = "fanmail.ask.deliver"
)

// Partitions is the number of partitions of deliveries. At most this many dispatchers
// own work at once. Subjects and consumers depend on the number, so a running
// installation cannot change it.
const Partitions = 32

// Partition returns the partition of a webhook's deliveries, from 0 to Partitions-1. It
// is the first five bits of the id, so that in an index on webhook ids a partition is one
// range.
func Partition(w WebhookID) int { return int(w[0] >> 3) }

// PartitionRange returns the first and the last webhook id of a partition, from 0 to
// Partitions-1.
func PartitionRange(p int) (first, last WebhookID) {
	first[0] = byte(p << 3) //nolint:gosec // p is under 32
	last[0] = first[0] | 7
	for i := 1; i < len(last); i++ {
		last[i] = 0xff
	}
	return first, last
}

// WakePolls returns the subject of the hint to those who poll the webhook.
func WakePolls(w WebhookID) string { return WakePollsPrefix + w.String() }

// WakeLane returns the subject of the hint that the webhook has due deliveries.
func WakeLane(w WebhookID) string { return WakeLanePrefix + strconv.Itoa(Partition(w)) }

// AskLane returns the subject of requests for the state of the webhook's lane.
func AskLane(w WebhookID) string { return AskLanePrefix + w.String() }

// EventSubject returns the subject of a relayed event of the tenant.
func EventSubject(t TenantID, typ Type) string {
	return EventsPrefix + t.String() + "." + string(typ)
}

// EventSubjects returns a subject filter for relayed events of the tenant that has those of the types and patterns; more
// if there are several, or none.
func EventSubjects(t TenantID, types []Type) string {
	if len(types) != 1 {
		return EventSubject(t, ">")
	}
	if prefix, is := strings.CutSuffix(string(types[0]), "*"); is {
		return EventSubject(t, Type(prefix)+">")
	}
	return EventSubject(t, types[0])
}

// ParseIntakeSubject returns the tenant of an intake subject, mail.intake.<tenant> or
// mail.intake.own.<tenant>. For any other subject it returns an error that quotes it, cut
// to 128 bytes.
func ParseIntakeSubject(subject string) (TenantID, error) {
	rest, ok := strings.CutPrefix(subject, IntakePrefix)
	if !ok {
		return TenantID{}, fmt.Errorf("parse intake subject %q: it does not begin with %s", clip(subject, 128), IntakePrefix)
	}
	id, err := Parse[TenantKind](strings.TrimPrefix(rest, "own."))
	if err != nil {
		return TenantID{}, fmt.Errorf("parse intake subject %q: %w", clip(subject, 128), err)
	}
	return id, nil
}
