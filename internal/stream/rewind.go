package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// drainTime is how long [Rewind] waits for acknowledgements: after AckWait
// nobody who is alive owes one.
const drainTime = AckWait + 5*time.Second

// SequenceAt gives the sequence of a stream's first message that was stored at
// t or later, and the one after the last where there is none.
func SequenceAt(ctx context.Context, js jetstream.JetStream, name string, t time.Time) (uint64, error) {
	c, err := js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{
		Description: "Looks for a time.", DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	batch, err := c.FetchNoWait(1)
	if err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	if m, ok := <-batch.Messages(); ok {
		meta, err := m.Metadata()
		if err != nil {
			return 0, fmt.Errorf("find the sequence of a time: %w", err)
		}
		return meta.Sequence.Stream, nil
	}
	if err := batch.Error(); err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	return s.CachedInfo().State.LastSeq + 1, nil
}

// Rewind sets a durable consumer back, or forward, to a sequence of its stream
// while its users run: it pauses the consumer, waits until they have
// acknowledged what they have, resets it, and lets it go on. An acknowledgement
// given before the reset would else count for the message's next delivery. The
// server must be 2.14 or later. step, which may be nil, is told what is done.
func Rewind(ctx context.Context, js jetstream.JetStream, name, consumer string, to uint64, step func(string)) (err error) {
	if step == nil {
		step = func(string) {}
	}
	step("pausing consumer " + consumer)
	if _, err := js.PauseConsumer(ctx, name, consumer, time.Now().Add(10*time.Minute)); err != nil {
		return fmt.Errorf("pause consumer %s: %w", consumer, err)
	}
	defer func() {
		// Whatever happened, it is not left paused.
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		step("resuming it")
		if _, resume := js.ResumeConsumer(back, name, consumer); resume != nil {
			err = errors.Join(err, fmt.Errorf("resume consumer %s, which is paused for ten minutes: %w", consumer, resume))
		}
	}()
	step("waiting for what is under way")
	if err := drained(ctx, js, name, consumer); err != nil {
		return err
	}
	step(fmt.Sprintf("setting it to sequence %d", to))
	if _, err := js.ResetConsumerToSequence(ctx, name, consumer, to); err != nil {
		return fmt.Errorf("reset consumer %s (NATS 2.14 or later can): %w", consumer, err)
	}
	return nil
}

func drained(ctx context.Context, js jetstream.JetStream, name, consumer string) error {
	until := time.Now().Add(drainTime)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := js.Consumer(ctx, name, consumer)
		if err != nil {
			return fmt.Errorf("look at consumer %s: %w", consumer, err)
		}
		if c.CachedInfo().NumAckPending == 0 || time.Now().After(until) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
