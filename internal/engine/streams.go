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
	ask, cancel := bounded(ctx)
	defer cancel()
	err := ensure(ask, js, o)
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
	return stream.Ensure(ctx, js, o)
}

// retry makes the streams as soon as the broker lets it, and waits for ctx to end.
func retry(ctx context.Context, js jetstream.JetStream, o stream.Options, state *stream.Health, log *zap.Logger) {
	made, done := context.WithCancel(ctx)
	defer done()
	KeepStreams(made, streamsEvery, func(ctx context.Context) error {
		err := ensure(ctx, js, o)
		state.Set(err)
		if err == nil {
			log.Info("the broker's streams are there")
			done()
		}
		return err
	}, log)
	<-ctx.Done()
}

// KeepStreams calls ensure at an interval until ctx ends. Each call has a time limit. A
// failure is logged when it begins or changes.
func KeepStreams(ctx context.Context, every time.Duration, ensure func(context.Context) error, log *zap.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
		ask, cancel := bounded(ctx)
		err := ensure(ask)
		cancel()
		switch {
		case err == nil:
			last = ""
		case ctx.Err() == nil && err.Error() != last:
			last = err.Error()
			log.Warn("the broker's streams can't be created or updated; trying again", zap.Error(err))
		}
	}
}

// bounded limits one call: a stream without a leader does not answer.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 2*stream.AckTime, stream.ErrNoAck)
}
