package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

// HeaderReason is the header of a dead letter that gives the reason.
const HeaderReason = "Fanmail-Reason"

// Options configure the streams.
type Options struct {
	// Replicas of each stream. Zero means 1; production runs 3.
	Replicas int
	// EventsMaxAge is how long JetStream keeps relayed events for replays. Zero
	// means 30 days for a new stream, and leaves an existing one unchanged.
	EventsMaxAge time.Duration
	// EventsMaxBytes bounds MAIL_EVENTS. Zero means half of the account's storage,
	// or 8 GiB if the account has no limit, unless the existing stream has a bound.
	EventsMaxBytes int64
	// IntakeTenants are the tenants that get an intake stream of their own; see [OwnIntakeName].
	IntakeTenants []events.TenantID
	// Role selects the streams that this process uses.
	Role Role
	// External says that another tool creates and updates streams and consumers:
	// [Ensure] only checks that they exist and lose no data.
	External bool
	// Log is the logger of changes; nil: silent.
	Log *zap.Logger
}

// AckWait is how long the broker waits for an acknowledgement before it redelivers a
// message.
const AckWait = 60 * time.Second

// Configs returns the configurations that [Ensure] creates. MaxBytes is -1 for streams
// whose bound depends on the account.
func Configs(o Options) []jetstream.StreamConfig {
	replicas := max(o.Replicas, 1)
	configs := []jetstream.StreamConfig{eventsConfig(o, replicas), deliveriesConfig(replicas), intakeConfig(replicas), rawConfig(replicas), deadConfig(replicas)}
	for _, t := range o.IntakeTenants {
		configs = append(configs, ownConfig(t, replicas))
	}
	return configs
}

func eventsConfig(o Options, replicas int) jetstream.StreamConfig {
	maxAge := o.EventsMaxAge
	if maxAge <= 0 {
		maxAge = 30 * 24 * time.Hour
	}
	maxBytes := o.EventsMaxBytes
	if maxBytes <= 0 {
		maxBytes = -1
	}
	// The tables have every event that MAIL_EVENTS may lose. So a single server acknowledges an event
	// before it is on disk. Replicated streams have no such mode, but commit an atomic batch once.
	persist := jetstream.AsyncPersistMode
	if replicas > 1 {
		persist = jetstream.DefaultPersistMode
	}
	return jetstream.StreamConfig{
		Name:        Events,
		Description: "Mail events relayed from the outbox; the horizon of replays.",
		Subjects:    []string{events.EventsPrefix + ">"},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxAge:      maxAge,
		MaxBytes:    maxBytes,
		Replicas:    replicas,
		Duplicates:  2 * time.Minute,
		PersistMode: persist,
		// The server refuses both together.
		AllowAtomicPublish: persist == jetstream.DefaultPersistMode,
		AllowDirect:        true,
	}
}

func deliveriesConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Deliveries,
		Description: "Delivery messages on their way to the owner of their partition; the table holds the truth.",
		Subjects:    []string{events.DeliveriesPrefix + "*.*"},
		// In memory: a message is useless after the end of its row's lease, and the rows of lost messages
		// are fetched from the table.
		Storage:   jetstream.MemoryStorage,
		Retention: jetstream.LimitsPolicy,
		Discard:   jetstream.DiscardOld,
		MaxAge:    2 * time.Minute,
		MaxBytes:  512 << 20,
		Replicas:  replicas,
	}
}

func intakeConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Intake,
		Description: "Events that other systems hand in; acknowledged once they are in the outbox.",
		Subjects:    []string{events.IntakePrefix + "*"},
		Storage:     jetstream.FileStorage,
		// A message that is in the outbox leaves the stream, so that the bound is of what waits. A full stream refuses
		// a message with an error, and loses none.
		Retention: jetstream.WorkQueuePolicy,
		Discard:   jetstream.DiscardNew,
		MaxAge:    7 * 24 * time.Hour,
		MaxBytes:  -1,
		Replicas:  replicas,
		// The shortest window that the server allows, because tenants may use equal message ids. The
		// outbox finds duplicates by tenant and key.
		Duplicates: 100 * time.Millisecond,
	}
}

func ownConfig(t events.TenantID, replicas int) jetstream.StreamConfig {
	c := intakeConfig(replicas)
	c.Name = OwnIntakeName(t)
	c.Description = "Events that the producers of one tenant hand in; acknowledged once they are in the outbox."
	c.Subjects = []string{events.OwnIntakePrefix + t.String()}
	return c
}

func deadConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Dead,
		Description: "What the intake refused, with the reason in a header.",
		Subjects:    []string{"mail.dead.>"},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxAge:      30 * 24 * time.Hour,
		Replicas:    replicas,
	}
}

// FanoutConsumer returns the configuration of the consumer that all dispatchers share.
func FanoutConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       Fanout,
		Description:   "Dispatchers fan events out into deliveries.",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		MaxAckPending: 20_000,
		// Round robin would make small batches in every dispatcher. So one dispatcher gets
		// all messages while it keeps up; see [Source.Rank].
		PriorityPolicy: jetstream.PriorityPolicyPrioritized,
		PriorityGroups: []string{fanoutGroup},
	}
}

// PartitionConsumer returns the configuration of the consumer of one partition of
// deliveries. The dispatcher that owns the partition pulls from it.
func PartitionConsumer(p int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       PartitionConsumerName(p),
		Description:   "Deliveries of partition " + strconv.Itoa(p) + ".",
		FilterSubject: partitionPrefix(p) + "*",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		MaxAckPending: 4096,
		MemoryStorage: true,
	}
}

// PartitionConsumerName returns the durable name of a partition's consumer.
func PartitionConsumerName(p int) string { return "partition-" + strconv.Itoa(p) }

// PartitionSubject returns the subject of messages with deliveries of any webhooks of a
// partition.
func PartitionSubject(p int) string { return partitionPrefix(p) + "batch" }

// WebhookSubject returns the subject of messages with deliveries of one webhook.
func WebhookSubject(id events.WebhookID) string {
	return partitionPrefix(events.Partition(id)) + id.String()
}

func partitionPrefix(p int) string { return events.DeliveriesPrefix + strconv.Itoa(p) + "." }

// IntakeConsumerConfig returns the configuration of the consumer that all ingests share.
func IntakeConsumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       IntakeConsumer,
		Description:   "Ingests take events in.",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		MaxAckPending: 5_000,
	}
}

// MismatchError says that a setting of a stream on the broker could lose data. The stream
// was not changed.
type MismatchError struct {
	Stream, Field, Have, Want string
	// Fixed says that the broker can't update the field, so that the stream must be
	// created again.
	Fixed bool
}

// Error names the difference and the remedy.
func (e *MismatchError) Error() string {
	remedy := "change it with `nats stream edit %[1]s`"
	switch {
	case e.Fixed && slices.Contains([]string{Intake, ownPrefix}, kind(e.Stream)):
		remedy = "the broker can't change that, so remove it with `nats stream rm %[1]s` when its messages are taken in: Fanmail creates it again"
	case e.Fixed:
		remedy = "the broker can't change that, so remove it with `nats stream rm %[1]s`: Fanmail creates it again and publishes what is in the outbox, and replays read the tables"
	}
	return fmt.Sprintf(setting.Named("stream %[1]s on the broker has %[2]s %[3]s, Fanmail needs %[4]s: "+remedy+"; or point FANMAIL_NATS_URL at another account"),
		e.Stream, e.Field, e.Have, e.Want)
}

// consumer creates or updates a durable consumer, or only looks up an external one.
func consumer(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig, external bool) (jetstream.Consumer, error) {
	var c jetstream.Consumer
	var err error
	if external {
		c, err = js.Consumer(ctx, stream, want.Durable)
	} else {
		c, err = js.CreateOrUpdateConsumer(ctx, stream, want)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", want.Durable, err)
	}
	return c, nil
}

// dangerous returns a [*MismatchError] for a difference that could lose data, or nil.
func dangerous(have, want jetstream.StreamConfig) error {
	mismatch := func(field string, h, w any) error {
		return &MismatchError{Stream: want.Name, Field: field, Have: fmt.Sprint(h), Want: fmt.Sprint(w)}
	}
	switch {
	case have.Retention != want.Retention && (have.Retention == jetstream.WorkQueuePolicy || want.Retention == jetstream.WorkQueuePolicy):
		return &MismatchError{Stream: want.Name, Field: "retention", Have: have.Retention.String(), Want: want.Retention.String(), Fixed: true}
	case have.Retention != want.Retention:
		// An interest stream deletes acknowledged messages.
		return mismatch("retention", have.Retention, want.Retention)
	case have.Sealed:
		return mismatch("sealed", true, false)
	case have.Discard != want.Discard:
		return mismatch("discard policy", have.Discard, want.Discard)
	case have.Storage != want.Storage && want.Storage == jetstream.FileStorage:
		return mismatch("storage", have.Storage, want.Storage)
	case have.MaxMsgSize > 0 && have.MaxMsgSize < MinMessageBytes:
		return mismatch("maximum message size", have.MaxMsgSize, fmt.Sprintf("at least %d", MinMessageBytes))
	case have.MaxMsgsPerSubject > 0:
		return mismatch("maximum messages per subject", have.MaxMsgsPerSubject, "no limit")
	case have.MaxMsgs > 0 && want.MaxMsgs <= 0 && have.Discard == jetstream.DiscardOld && have.MaxMsgs < 100_000:
		return mismatch("maximum messages", have.MaxMsgs, "no limit")
	case have.NoAck:
		return mismatch("no-ack", true, false)
	case have.MaxAge > 0 && have.MaxAge < min(want.MaxAge, time.Hour):
		return mismatch("maximum age", have.MaxAge, want.MaxAge)
	case have.Mirror != nil || len(have.Sources) > 0:
		return mismatch("mirror or sources", "set", "none")
	case have.PersistMode == jetstream.AsyncPersistMode && want.PersistMode == jetstream.DefaultPersistMode:
		return &MismatchError{Stream: want.Name, Field: "persist mode", Have: have.PersistMode.String(), Want: want.PersistMode.String(), Fixed: true}
	}
	for _, s := range have.Subjects {
		if !slices.Contains(want.Subjects, s) {
			return mismatch("subjects", have.Subjects, want.Subjects)
		}
	}
	return nil
}

// MinMessageBytes is the size of messages that the broker must accept: the largest
// envelope, and headers.
const MinMessageBytes = events.MaxEnvelopeBytes + 16<<10
