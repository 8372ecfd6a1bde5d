package events

import (
	"fmt"
	"strconv"
	"strings"
)

// The broker's subjects.
const (
	// EventsPrefix begins the subjects of relayed events:
	// mail.events.<tenant>.<type>. Outsiders may consume them.
	EventsPrefix = "mail.events."
	// IntakePrefix begins the subjects on which anybody's ingest may publish
	// an event: mail.intake.<tenant>.
	IntakePrefix = "mail.intake."
	// DeadIntakePrefix begins the subjects that take what the intake refused,
	// with the reason in the header "Fanmail-Reason".
	DeadIntakePrefix = "mail.dead.intake."
	// DeliveriesPrefix begins the subjects of delivery messages:
	// fanmail.deliveries.<partition>.
	DeliveriesPrefix = "fanmail.deliveries."
	// WakeOutbox is the hint, over core NATS, that the outbox has rows.
	WakeOutbox = "fanmail.wake.outbox"
	// WakeWebhooks is the hint, over core NATS, that the registry of webhooks
	// has changed.
	WakeWebhooks = "fanmail.wake.webhooks"
	// WakeReplays is the hint, over core NATS, that a replay was asked for or
	// cancelled.
	WakeReplays = "fanmail.wake.replays"
	// WakeAgents is the hint, over core NATS, that an agent, whose address is
	// the payload, has deliveries to its own webhook.
	WakeAgents = "fanmail.wake.agents"
	// WakeLanePrefix begins the hint, over core NATS, that a webhook has due
	// deliveries in the table: fanmail.wake.lane.<partition>, the webhook's id
	// in the payload.
	WakeLanePrefix = "fanmail.wake.lane."
	// AskLanePrefix begins requests, over core NATS, for the state of a
	// webhook's lane: fanmail.ask.lane.<webhook>. Its owner answers.
	AskLanePrefix = "fanmail.ask.lane."
)

// Partitions is the number of partitions of deliveries. It bounds the
// dispatchers that can own work at once. It is part of the subjects: another
// number is another set of subjects and consumers.
const Partitions = 32

// Partition is where a webhook's deliveries go: the first five bits of its id,
// so that a partition is also a range of ids in every index on webhook ids.
func Partition(w WebhookID) int { return int(w[0] >> 3) }

// PartitionRange gives the first and the last webhook id of a partition.
func PartitionRange(p int) (first, last WebhookID) {
	first[0] = byte(p << 3) //nolint:gosec // p is under 32
	last[0] = first[0] | 7
	for i := 1; i < len(last); i++ {
		last[i] = 0xff
	}
	return first, last
}

// WakeLane is the subject of a hint about a webhook's deliveries.
func WakeLane(w WebhookID) string { return WakeLanePrefix + strconv.Itoa(Partition(w)) }

// AskLane is the subject of a request for the state of a webhook's lane.
func AskLane(w WebhookID) string { return AskLanePrefix + w.String() }

// EventSubject is the subject of an event of the tenant.
func EventSubject(t TenantID, typ Type) string {
	return EventsPrefix + t.String() + "." + string(typ)
}

// ParseIntakeSubject finds the tenant in mail.intake.<tenant>.
func ParseIntakeSubject(subject string) (TenantID, error) {
	rest, ok := strings.CutPrefix(subject, IntakePrefix)
	if !ok {
		return TenantID{}, fmt.Errorf("subject %q does not begin with %s", clip(subject, 128), IntakePrefix)
	}
	id, err := Parse[TenantKind](rest)
	if err != nil {
		return TenantID{}, fmt.Errorf("subject %q: %w", clip(subject, 128), err)
	}
	return id, nil
}
