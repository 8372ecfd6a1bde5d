package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// lookEvery is the time between two looks for tenants' own intake streams.
	lookEvery = 10 * time.Second
	// lookTimeout bounds one look.
	lookTimeout = 10 * time.Second
)

// Run works until ctx ends. Then it fetches no more, finishes the current batch within
// IntakeOptions.Drain or returns it to the broker, and returns nil.
func (in *Intake) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(in.drain, stop) })()
	var own sync.WaitGroup
	own.Go(func() { in.followOwn(ctx, work) })
	in.takeFrom(ctx, work, in.stream)
	own.Wait()
	return nil
}

// followOwn takes events in from the tenants' own intake streams, also from those that are created later, until ctx ends.
// It returns when all of them have stopped.
func (in *Intake) followOwn(ctx, work context.Context) {
	var followed sync.Map // names
	var all sync.WaitGroup
	defer all.Wait()
	for ; ctx.Err() == nil; pause(ctx, lookEvery) {
		found, err := in.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				in.log.Warn("cannot look for the intake streams of tenants", zap.Error(err), zap.Duration("again_in", lookEvery))
			}
			continue
		}
		in.m.full(found)
		for _, own := range found {
			if !own.Own {
				continue
			}
			if _, running := followed.LoadOrStore(own.Name, true); running {
				continue
			}
			all.Go(func() {
				defer followed.Delete(own.Name)
				in.takeFrom(ctx, work, &intakeStream{js: in.stream.js, options: in.stream.options, name: own.Name})
			})
		}
	}
}

func (in *Intake) look(ctx context.Context) ([]stream.IntakeState, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return stream.Intakes(ctx, in.stream.js)
}

// pause waits; less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// takeFrom takes events in from one stream until ctx ends, or until a tenant's own stream is gone. A batch that has begun
// ends with work.
func (in *Intake) takeFrom(ctx, work context.Context, s *intakeStream) {
	for ctx.Err() == nil {
		var first jetstream.Msg
		fetched := persist(ctx, in.log, "fetch from the intake stream", func() (err error) {
			first, err = s.first(ctx)
			if s.gone(err) {
				return backoff.Permanent(err)
			}
			return err
		})
		if !fetched {
			return
		}
		if first == nil {
			continue
		}
		if in.turns.Acquire(ctx, 1) != nil {
			_ = first.Nak()
			return
		}
		in.take(work, s.rest(first))
		in.turns.Release(1)
	}
}
