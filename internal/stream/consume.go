package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Source pulls messages from a durable consumer.
type Source struct {
	JS jetstream.JetStream
	// Streams are the options with which lost streams are created again.
	Streams  Options
	Stream   string
	Consumer jetstream.ConsumerConfig
	// Ahead is how many messages may be fetched before they are handled.
	Ahead int
	// Rank returns this process's priority in a consumer with a priority group, from 0,
	// and a channel that closes when it changes. The broker sends messages to the lowest
	// rank that has a pull request open. nil: rank 0.
	Rank func() (rank int, changed <-chan struct{})
	// Heartbeat is how often the broker says that it is there while it has no messages. Zero
	// means 5 s, and 5 s is the most.
	Heartbeat time.Duration
	// Started is called after each start of the subscription; nil: not called.
	Started func()
	// Silent is called each time that the broker has said nothing for two heartbeats,
	// and when a subscription has ended; nil: not called. It must not block.
	Silent func()
	Log    *zap.Logger
}

// Run calls handle for each message, one at a time, until ctx ends. It creates a consumer
// or stream again that the broker has lost, and waits for a broker without a connection.
// It returns nil after the last call of handle has returned. Messages that were fetched
// and not handled are returned to the broker.
func (s Source) Run(ctx context.Context, handle func(jetstream.Msg)) error {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	last := "" // text of the last error
	started := func() { pause.Reset(); last = "" }
	for {
		err := s.consume(ctx, started, handle)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errRank) {
			continue
		}
		s.silent()
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDeleted) {
			err = errors.Join(err, Ensure(ctx, s.JS, s.Streams))
		}
		if stateLost(err) {
			err = errors.Join(err, s.remove(ctx))
		}
		wait := pause.NextBackOff()
		level := zap.WarnLevel
		if err.Error() == last {
			level = zap.DebugLevel // a process has dozens of consumers, so log a repeated error once
		}
		last = err.Error()
		s.Log.Log(level, "a consumer ended; it is started again", zap.String("consumer", s.Consumer.Durable), zap.Error(err), zap.Duration("wait", wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

var errRank = errors.New("the rank of this process has changed")

// maxRank is the broker's highest priority number.
const maxRank = 9

// stateLost reports whether the broker has lost the consumer's directory, without which it
// cannot update the consumer. Server 2.15.2 removes the directory of a deleted consumer
// late. It may so remove that of a new consumer of the same name.
func stateLost(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == 10012 || refused.ErrorCode == 10104) &&
		strings.Contains(refused.Description, "no such file or directory")
}

// remove deletes the consumer, so that it is created again. Acknowledged messages are then
// redelivered; handlers are idempotent.
func (s Source) remove(ctx context.Context) error {
	err := s.JS.DeleteConsumer(ctx, s.Stream, s.Consumer.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	return err
}

// silenceEnds is how long a broker may say nothing until the subscription is started again.
const silenceEnds = 10 * time.Second

// silent calls Silent.
func (s Source) silent() {
	if s.Silent != nil {
		s.Silent()
	}
}

// silence returns a function to call whenever two heartbeats are missing. It
// returns true once the broker has said nothing for [silenceEnds].
func (s Source) silence(heartbeat time.Duration) func() bool {
	var since, last time.Time
	return func() bool {
		s.silent()
		now := time.Now()
		if now.Sub(last) > 3*heartbeat {
			since = now.Add(-2 * heartbeat) // something came in between
		}
		last = now
		return now.Sub(since) >= silenceEnds
	}
}

func (s Source) consume(ctx context.Context, started func(), handle func(jetstream.Msg)) error {
	c, err := consumer(ctx, s.JS, s.Stream, s.Consumer, s.Streams.External)
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	heartbeat := cmp.Or(s.Heartbeat, 5*time.Second)
	silence := s.silence(heartbeat)
	options := []jetstream.PullConsumeOpt{
		jetstream.PullMaxMessages(s.Ahead), jetstream.PullExpiry(10 * time.Second), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
				errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoHeartbeat) && silence() {
				select {
				case lost <- err:
				default:
				}
			}
		}),
	}
	var changed <-chan struct{}
	// An external consumer may have no priority group, and refuses requests that name one.
	if group := c.CachedInfo().Config.PriorityGroups; len(group) > 0 {
		rank := 0
		if s.Rank != nil {
			rank, changed = s.Rank()
		}
		options = append(options, jetstream.PullPriorityGroup(group[0]), jetstream.PullPrioritized(min(rank, maxRank)))
	}
	cc, err := c.Consume(func(m jetstream.Msg) {
		if ctx.Err() != nil {
			_ = m.Nak()
			return
		}
		handle(m)
	}, options...)
	if err != nil {
		return fmt.Errorf("consume %s: %w", s.Consumer.Durable, err)
	}
	started()
	if s.Started != nil {
		s.Started()
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-lost:
	case <-changed:
		err = errRank
	case <-cc.Closed():
		err = errors.New("the subscription was closed")
	}
	cc.Drain() // calls the handler for the fetched messages
	<-cc.Closed()
	return err
}
