package engine

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// streamsEvery is how often streams that could not be made are tried again.
const streamsEvery = 10 * time.Second

// Streams tries to make the streams. It returns an error only for a stream that
// would lose data, a [*stream.MismatchError]. If the broker is away or refuses, the
// process starts without: deliveries go past the broker, and the part tries again.
func Streams(ctx context.Context, js jetstream.JetStream, o stream.Options, log *zap.Logger) (Part, error) {
	state := &stream.Health{}
	part := Part{
		Name: "streams", Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
		Publishing: func() stream.Publishing { return state.Publishing("") },
	}
	err := ensure(ctx, js, o)
	state.Set(err)
	var mismatch *stream.MismatchError
	switch {
	case errors.As(err, &mismatch):
		return part, mismatch
	case err != nil:
		log.Warn("starting without the broker's streams: deliveries go past the broker until the streams are there", zap.Error(err))
		part.Run = func(ctx context.Context) error { retry(ctx, js, o, state, log); return nil }
	}
	return part, nil
}

func ensure(ctx context.Context, js jetstream.JetStream, o stream.Options) error {
	if !js.Conn().IsConnected() {
		return stream.ErrAway
	}
	// A stream without a leader does not answer.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*stream.AckTime, stream.ErrNoAck)
	defer cancel()
	return stream.Ensure(ctx, js, o)
}

// retry makes the streams as soon as the broker lets it, and waits for ctx to end.
func retry(ctx context.Context, js jetstream.JetStream, o stream.Options, state *stream.Health, log *zap.Logger) {
	tick := time.NewTicker(streamsEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := ensure(ctx, js, o)
		state.Set(err)
		switch {
		case err == nil:
			log.Info("the broker's streams are there")
			<-ctx.Done()
			return
		case ctx.Err() == nil && err.Error() != last:
			last = err.Error()
			log.Warn("the broker's streams can't be made yet", zap.Error(err))
		}
	}
}
