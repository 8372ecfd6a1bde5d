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
)

// HeaderReason is the header of a message in the dead-letter stream that says why
// it is there.
const HeaderReason = "Fanmail-Reason"

// Options are the operator's choices.
type Options struct {
	// Replicas of each stream. Zero means 1; production runs 3.
	Replicas int
	// EventsMaxAge is how long JetStream keeps relayed events for replays. Zero
	// means 30 days for a new stream, and leaves an existing one as it is.
	EventsMaxAge time.Duration
	// EventsMaxBytes bounds MAIL_EVENTS. Zero means half of the account's storage,
	// or 8 GiB if the account has no limit, unless the existing stream has a bound.
	EventsMaxBytes int64
	// Role says which streams are this process's concern.
	Role Role
	// External leaves making and changing streams and consumers to somebody else:
	// [Ensure] only looks whether they are there and will do.
	External bool
	// Log tells which bounds streams were given; nil: silent.
	Log *zap.Logger
}

// AckWait is how long the broker waits for an acknowledgement before it sends
// a message again.
const AckWait = 60 * time.Second

// Configs are the streams as they should be. MaxBytes is -1 for streams whose bound
// [Ensure] fits to the account.
func Configs(o Options) []jetstream.StreamConfig {
	replicas := max(o.Replicas, 1)
	return []jetstream.StreamConfig{eventsConfig(o, replicas), deliveriesConfig(replicas), intakeConfig(replicas), deadConfig(replicas)}
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
	// The tables hold every event that MAIL_EVENTS may lose. So a single server acknowledges before the
	// event is on disk. Replicated streams do not offer that; there an atomic batch shares one commit.
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
		// The server has one or the other.
		AllowAtomicPublish: persist == jetstream.DefaultPersistMode,
		AllowDirect:        true,
	}
}

func deliveriesConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Deliveries,
		Description: "Delivery messages on their way to the owner of their partition; the table holds the truth.",
		Subjects:    []string{events.DeliveriesPrefix + "*"},
		// In memory: a message is useless after its row's lease has ended, and the fetch of due rows sends
		// again what was lost.
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
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxAge:      7 * 24 * time.Hour,
		// No limit: acknowledged messages stay until their age is over, and a full stream would refuse new
		// ones because of them.
		MaxBytes: -1,
		Replicas: replicas,
		// The shortest window that the server allows. It spans all tenants, whose message ids may be equal;
		// the outbox's keys find duplicates by tenant.
		Duplicates: 100 * time.Millisecond,
	}
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

// FanoutConsumer is the durable consumer that all dispatchers share.
func FanoutConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       Fanout,
		Description:   "Dispatchers fan events out into deliveries.",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		MaxAckPending: 20_000,
		// In turn, each message would go to another dispatcher, and each would
		// fan out small batches and send most of what comes of them to the
		// others. So one does it all while it keeps up; see [Source.Rank].
		PriorityPolicy: jetstream.PriorityPolicyPrioritized,
		PriorityGroups: []string{fanoutGroup},
	}
}

// PartitionConsumer is the durable consumer of one partition of deliveries.
// Whoever owns the partition pulls from it.
func PartitionConsumer(p int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       PartitionConsumerName(p),
		Description:   "Deliveries of partition " + strconv.Itoa(p) + ".",
		FilterSubject: PartitionSubject(p),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		MaxAckPending: 4096,
		MemoryStorage: true,
	}
}

// PartitionConsumerName is the durable name of a partition's consumer.
func PartitionConsumerName(p int) string { return "partition-" + strconv.Itoa(p) }

// PartitionSubject is the subject of a partition's delivery messages.
func PartitionSubject(p int) string { return events.DeliveriesPrefix + strconv.Itoa(p) }

// IntakeConsumerConfig is the durable consumer that all ingests share.
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

// MismatchError says that a stream on the server differs from what Fanmail
// needs in a way that could lose data, so that it was left alone.
type MismatchError struct {
	Stream, Field, Have, Want string
	// Fixed says that the broker never changes the field, so that the stream
	// has to be made anew.
	Fixed bool
}

// Error says what differs and what to do.
func (e *MismatchError) Error() string {
	remedy := "change it with `nats stream edit %[1]s`"
	if e.Fixed {
		remedy = "the broker can't change that, so remove it with `nats stream rm %[1]s`; it is made anew, what waits in the outbox is published again, and replays read the tables"
	}
	return fmt.Sprintf("stream %[1]s on the broker has %[2]s %[3]s, Fanmail needs %[4]s: "+remedy+"; or point FANMAIL_NATS_URL at another account",
		e.Stream, e.Field, e.Have, e.Want)
}

// consumer makes a durable consumer what it should be, or looks it up where it
// is given.
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

// dangerous finds the differences that an update must not paper over.
func dangerous(have, want jetstream.StreamConfig) error {
	mismatch := func(field string, h, w any) error {
		return &MismatchError{Stream: want.Name, Field: field, Have: fmt.Sprint(h), Want: fmt.Sprint(w)}
	}
	switch {
	case have.Retention != want.Retention:
		// Work-queue and interest streams delete what was acknowledged.
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

// MinMessageBytes is the payload that the broker must take: an envelope at its
// largest, with room for headers.
const MinMessageBytes = events.MaxEnvelopeBytes + 16<<10
