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

const (
	// maxBatch is the most messages of one transaction.
	maxBatch = 500
	// maxBatchBytes is the size from which a batch gets no further messages, so that large ones of one producer do not
	// use up the process's memory. Requests under way may exceed it by maxPulls messages.
	maxBatchBytes = 8 << 20
	// maxPulls is how many requests for a message are under way at once.
	maxPulls = 8
)

// intakeStream is a stream of intake messages of the broker. One goroutine fetches from it.
type intakeStream struct {
	js   jetstream.JetStream
	name string
	// options create the streams again if the broker has lost them.
	options  stream.Options
	consumer jetstream.Consumer // nil: not looked up yet
}

// first waits for a message; nil if none has come for a time.
func (s *intakeStream) first(ctx context.Context) (jetstream.Msg, error) {
	if s.consumer == nil {
		consumer, err := s.js.Consumer(ctx, s.name, stream.IntakeConsumer)
		if err != nil {
			return nil, s.mend(ctx, err)
		}
		s.consumer = consumer
	}
	msg, err := s.consumer.Next(jetstream.FetchContext(ctx))
	if errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		s.consumer = nil // it may have been created again
		return nil, err
	}
	return msg, nil
}

// rest returns the first message and all others that have arrived, in the order of the stream, up to a batch.
func (s *intakeStream) rest(first jetstream.Msg) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	meta, err := first.Metadata()
	if err != nil {
		return batch // it is refused for that
	}
	n := int(min(meta.NumPending, maxBatch-1))
	return append(batch, pending(s.consumer, n, maxBatchBytes-len(first.Data()))...)
}

// pending takes up to n messages of about so many bytes together, each by a request of its own: where the streams are in another account, a message
// without a header and a body ends the answers to its request, and what the broker sends after it is lost until it comes
// again. A producer must not delay others with such messages.
func pending(consumer jetstream.Consumer, n, bytes int) []jetstream.Msg {
	var mu sync.Mutex
	var taken []jetstream.Msg
	var left, room atomic.Int64
	left.Store(int64(n))
	room.Store(int64(bytes))
	var pulls sync.WaitGroup
	for range min(n, maxPulls) {
		pulls.Go(func() {
			for room.Load() > 0 && left.Add(-1) >= 0 {
				got, err := consumer.FetchNoWait(1)
				if err != nil {
					return // the next fetch will tell
				}
				m, ok := <-got.Messages()
				if !ok {
					return
				}
				room.Add(-int64(len(m.Data())))
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

// mend creates the shared streams again if err says that the broker has lost them. The operator creates those of tenants.
func (s *intakeStream) mend(ctx context.Context, err error) error {
	if s.gone(err) {
		return err
	}
	return stream.Mend(ctx, s.js, s.options, err)
}

// gone reports whether err says that a tenant's own stream does not exist any more. The shared one is created again.
func (s *intakeStream) gone(err error) bool {
	return s.name != stream.Intake && (errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound))
}
