package stream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Mend creates the streams again if err says that the broker has lost them. It returns
// err, joined with the error of creating them.
func Mend(ctx context.Context, js jetstream.JetStream, o Options, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return errors.Join(err, Ensure(ctx, js, o))
	}
	return err
}
