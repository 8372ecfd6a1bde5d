package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// RawAckWait is how long one raw mail may take to be parsed, authenticated and
// committed, before another process gets it too.
const RawAckWait = 2 * time.Minute

func rawConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Raw,
		Description: "Raw mails that wait for an ingest with a database; removed once they are in the outbox.",
		Subjects:    []string{RawPrefix + "*"},
		Storage:     jetstream.FileStorage,
		// An acknowledged mail is in Postgres. A mail that is not acknowledged never expires, because its
		// sender was told that it is accepted. A full stream refuses new ones.
		Retention: jetstream.WorkQueuePolicy,
		Discard:   jetstream.DiscardNew,
		MaxBytes:  -1,
		Replicas:  replicas,
		// A publisher repeats a message within seconds.
		Duplicates: 2 * time.Minute,
	}
}

// RawConsumerConfig returns the configuration of the consumer that all ingests with a
// database share.
func RawConsumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       RawConsumer,
		Description:   "Ingests take raw mails in.",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       RawAckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver:    -1,
		// A mail that waits for its next try counts. So many may wait before mails of others do.
		MaxAckPending: 20_000,
	}
}
