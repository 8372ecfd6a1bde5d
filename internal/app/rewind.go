package app

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// RewindFanout sets the fan-out's consumer to a sequence of MAIL_EVENTS. For
// sequence 0 it uses the first message since a time. Dispatchers may run
// meanwhile: they skip events that were fanned out. It returns the sequence. It
// calls step with a description of each step.
func RewindFanout(ctx context.Context, c NATS, wait Waiting, sequence uint64, since time.Time, step func(string), log *zap.Logger) (uint64, error) {
	if err := firstError(c.validate, wait.validate); err != nil {
		return 0, err
	}
	starting, started := wait.bound(ctx)
	defer started()
	nc, js, err := awaitBroker(starting, c, "rewind", func(ctx context.Context, js jetstream.JetStream) error {
		return stream.Ensure(ctx, js, c.streams(stream.Dispatcher))
	}, log)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if sequence == 0 {
		if sequence, err = stream.SequenceAt(ctx, js, stream.Events, since); err != nil {
			return 0, err
		}
	}
	return sequence, stream.Rewind(ctx, js, stream.Events, stream.Fanout, sequence, step)
}
