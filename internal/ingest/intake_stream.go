package ingest

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// maxBatch is the most messages of one transaction.
const maxBatch = 500

// intakeStream is the broker's stream of intake messages. One goroutine fetches from it.
type intakeStream struct {
	js jetstream.JetStream
	// options create the streams again if the broker has lost them.
	options  stream.Options
	consumer jetstream.Consumer // nil: not looked up yet
}

// fetch waits for messages.
func (s *intakeStream) fetch(ctx context.Context) ([]jetstream.Msg, error) {
	if s.consumer == nil {
		consumer, err := s.js.Consumer(ctx, stream.Intake, stream.IntakeConsumer)
		if err != nil {
			return nil, s.mend(ctx, err)
		}
		s.consumer = consumer
	}
	batch, err := next(ctx, s.consumer)
	if err != nil {
		s.consumer = nil // it may have been created again
	}
	return batch, err
}

// next waits for a message and takes all others that have arrived.
func next(ctx context.Context, consumer jetstream.Consumer) ([]jetstream.Msg, error) {
	first, err := consumer.Next(jetstream.FetchContext(ctx))
	if errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	batch := []jetstream.Msg{first}
	more, err := consumer.FetchNoWait(maxBatch - 1)
	if err != nil {
		return batch, nil //nolint:nilerr // the first is good; the next fetch will tell
	}
	for m := range more.Messages() {
		batch = append(batch, m)
	}
	return batch, nil
}

// mend creates the streams again if err says that the broker has lost them.
func (s *intakeStream) mend(ctx context.Context, err error) error {
	return stream.Mend(ctx, s.js, s.options, err)
}
