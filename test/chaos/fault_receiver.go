package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

var moody = []string{"moody-1", "moody-2", "moody-3"}

// receiverFaults are faults of others: receivers, tenants, and clients that publish malformed
// messages.
func receiverFaults(l *load) []fault {
	var out []fault
	for _, mood := range moods {
		out = append(out, fault{"receiver." + mood, "receiver", sulk(mood)})
	}
	return append(append(out, (&churn{l: l}).faults()...),
		fault{"poison", "nats", poison},
		fault{"flood", "tenant", func(ctx context.Context, _ *rig, rnd *rand.Rand) (string, error) {
			count := 300 + rnd.IntN(400)
			return strconv.Itoa(count) + " events", l.flood(ctx, l.tenants["b"], count)
		}},
	)
}

// sulk makes some endpoints fail in one way for a while.
func sulk(mood string) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		name := moody[rnd.IntN(len(moody))]
		e := r.receiver.endpoint(name)
		e.turn(mood)
		last(ctx, between(rnd, 2*time.Second, 6*time.Second))
		e.turn(fine)
		return name, nil
	}
}

// poison publishes malformed messages, which neither our relay nor our fan-out wrote.
func poison(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
	js, err := jetstream.New(r.broker)
	if err != nil {
		return "", err
	}
	stranger, id := events.NewID().String(), fmt.Sprintf("ten_%032x", 1)
	forged := func(seq, created, message string) *nats.Msg {
		return &nats.Msg{Subject: events.EventsPrefix + id + ".email.received", Data: []byte("{}"), Header: nats.Header{
			stream.HeaderEvent: {stranger}, stream.HeaderSeq: {seq}, stream.HeaderCreatedAt: {created}, stream.HeaderMessage: {message},
		}}
	}
	msgs := []*nats.Msg{
		{Subject: events.EventsPrefix + "nobody.email.received", Data: []byte("{")},
		{Subject: events.EventsPrefix + id + ".email.received", Data: []byte("\x00\xff")},
		{Subject: events.EventsPrefix + "x.y.z"},
		forged("nonsense", "0", ""), forged("-1", "9223372036854775807", ""), forged("1", "-9223372036854775808", "%00"),
		{Subject: stream.PartitionSubject(0), Data: []byte("nonsense")},
		{Subject: stream.PartitionSubject(31)},
		{Subject: stream.PartitionSubject(31), Data: []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},
	}
	for _, m := range msgs {
		publish, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := backoff.Retry(func() error {
			try, cancel := context.WithTimeout(publish, 2*time.Second)
			defer cancel()
			_, err := js.PublishMsg(try, m)
			return err
		}, backoff.WithContext(backoff.NewConstantBackOff(200*time.Millisecond), publish))
		cancel()
		if err != nil {
			return "the broker did not take all of it", nil
		}
	}
	return strconv.Itoa(len(msgs)) + " messages", nil
}
