package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// AckTime is how long a publisher waits from one acknowledgement to the next:
// a broker that has lost its leader never answers what it was asked just then.
const AckTime = 5 * time.Second

// ErrNoAck says that the broker gave no acknowledgement within [AckTime].
// Whether it has the message is not known.
var ErrNoAck = errors.New("the broker gave no acknowledgement within 5 s")

// Acknowledged waits until the broker has all of the messages, duplicates
// included. It returns the first refusal, [ErrNoAck], or ctx's cause.
func Acknowledged(ctx context.Context, futures []jetstream.PubAckFuture) error {
	timer := time.NewTimer(AckTime)
	defer timer.Stop()
	for _, f := range futures {
		timer.Reset(AckTime)
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-timer.C:
			return ErrNoAck
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
