package ingest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

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

// next waits for a message and takes all others that have arrived, in the order of the stream.
func next(ctx context.Context, consumer jetstream.Consumer) ([]jetstream.Msg, error) {
	first, err := consumer.Next(jetstream.FetchContext(ctx))
	if errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	meta, err := first.Metadata()
	if err != nil {
		return []jetstream.Msg{first}, nil //nolint:nilerr // it is refused for that
	}
	return append([]jetstream.Msg{first}, pending(consumer, int(min(meta.NumPending, maxBatch-1)))...), nil
}

// maxPulls is how many requests for a message are under way at once.
const maxPulls = 32

// pending takes up to n messages, each by a request of its own: where the streams are in another account, a message
// without a header and a body ends the answers to its request, and what the broker sends after it is lost until it comes
// again. A producer must not delay others with such messages.
func pending(consumer jetstream.Consumer, n int) []jetstream.Msg {
	var mu sync.Mutex
	var taken []jetstream.Msg
	var left atomic.Int64
	left.Store(int64(n))
	var pulls sync.WaitGroup
	for range min(n, maxPulls) {
		pulls.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := consumer.FetchNoWait(1)
				if err != nil {
					return // the next fetch will tell
				}
				m, ok := <-got.Messages()
				if !ok {
					return
				}
				mu.Lock()
				taken = append(taken, m)
				mu.Unlock()
			}
		})
	}
	pulls.Wait()
	slices.SortFunc(taken, func(a, b jetstream.Msg) int { return cmp.Compare(placeOf(a), placeOf(b)) })
	return taken
}

// placeOf is the place of a message in its stream.
func placeOf(m jetstream.Msg) uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.Sequence.Stream
}

// mend creates the streams again if err says that the broker has lost them.
func (s *intakeStream) mend(ctx context.Context, err error) error {
	return stream.Mend(ctx, s.js, s.options, err)
}
