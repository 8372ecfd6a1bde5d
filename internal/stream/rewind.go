package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// drainTime is how long [Rewind] waits for acknowledgements. After AckWait no running
// process has any left to send.
const drainTime = AckWait + 5*time.Second

// SequenceAt returns the sequence of a stream's first message that was stored at t or
// later. The stream must allow direct gets. Without such a message it returns the last sequence plus one.
func SequenceAt(ctx context.Context, js jetstream.JetStream, name string, t time.Time) (uint64, error) {
	found, err := Read(ctx, js, Page{Stream: name, Subject: ">", Since: t, Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	if len(found) > 0 {
		return found[0].Sequence, nil
	}
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("find the sequence of a time: %w", err)
	}
	return s.CachedInfo().State.LastSeq + 1, nil
}

// Rewind sets a durable consumer to a sequence of its stream while processes use it. It
// pauses the consumer, waits for outstanding acknowledgements, resets the consumer and
// resumes it. Without the wait, a late acknowledgement would count for the message's next
// delivery. The server must be [ResetFrom] or later. Rewind calls step, if not nil, with a text
// before each step. It returns the last sequence that the consumer had delivered: the
// messages up to it come again.
func Rewind(ctx context.Context, js jetstream.JetStream, name, consumer string, to uint64, step func(string)) (before uint64, err error) {
	if step == nil {
		step = func(string) {}
	}
	if v := js.Conn().ConnectedServerVersion(); Older(v, ResetFrom) {
		return 0, fmt.Errorf("reset consumer %s: the broker is NATS %s, and a reset needs %s or later; without one, delete the consumer: dispatchers create it at the stream's beginning", consumer, v, ResetFrom)
	}
	step("pausing consumer " + consumer)
	if _, err := js.PauseConsumer(ctx, name, consumer, time.Now().Add(10*time.Minute)); err != nil {
		return 0, fmt.Errorf("pause consumer %s: %w", consumer, err)
	}
	defer func() {
		// The consumer is resumed after an error too.
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		step("resuming it")
		if _, resume := js.ResumeConsumer(back, name, consumer); resume != nil {
			err = errors.Join(err, fmt.Errorf("resume consumer %s, which is paused for ten minutes: %w", consumer, resume))
		}
	}()
	step("waiting for outstanding acknowledgements")
	if before, err = drained(ctx, js, name, consumer); err != nil {
		return before, err
	}
	step(fmt.Sprintf("setting it to sequence %d", to))
	if _, err := js.ResetConsumerToSequence(ctx, name, consumer, to); err != nil {
		return before, fmt.Errorf("reset consumer %s: %w", consumer, err)
	}
	return before, nil
}

// drained waits until the consumer has no outstanding acknowledgement, at most drainTime. It
// returns the last sequence that was delivered.
func drained(ctx context.Context, js jetstream.JetStream, name, consumer string) (uint64, error) {
	until := time.Now().Add(drainTime)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := js.Consumer(ctx, name, consumer)
		if err != nil {
			return 0, fmt.Errorf("look up consumer %s: %w", consumer, err)
		}
		if info := c.CachedInfo(); info.NumAckPending == 0 || time.Now().After(until) {
			return info.Delivered.Stream, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
