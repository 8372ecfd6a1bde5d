package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Source is a durable consumer to pull from.
type Source struct {
	JS jetstream.JetStream
	// Streams are made again where the broker has lost them.
	Streams  Options
	Stream   string
	Consumer jetstream.ConsumerConfig
	// Ahead is how many messages may be fetched before they are handled.
	Ahead int
	// Rank, for a consumer with a priority group, is this process's place among
	// those that pull, and a channel that closes when it changes. The least gets
	// all messages while it has asked for more than it was given; those after it
	// get the rest. nil: all get them in turn.
	Rank func() (rank int, changed <-chan struct{})
	// Started is called whenever messages begin to come; nil: not called.
	Started func()
	Log     *zap.Logger
}

// Run calls handle for each message, one at a time, until ctx ends. A consumer
// or a stream that the broker has lost is made anew, and a broker that is away
// is waited for. It returns nil when no further call of handle is under way;
// messages that were fetched and not handled have gone back to the broker.
func (s Source) Run(ctx context.Context, handle func(jetstream.Msg)) error {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	last := "" // error
	started := func() { pause.Reset(); last = "" }
	for {
		err := s.consume(ctx, started, handle)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errRank) {
			continue
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDeleted) {
			err = errors.Join(err, Ensure(ctx, s.JS, s.Streams))
		}
		if stateLost(err) {
			err = errors.Join(err, s.remove(ctx))
		}
		wait := pause.NextBackOff()
		level := zap.WarnLevel
		if err.Error() == last {
			level = zap.DebugLevel // once is enough: there are dozens of consumers
		}
		last = err.Error()
		s.Log.Log(level, "a consumer ended; starting it again", zap.String("consumer", s.Consumer.Durable), zap.Error(err), zap.Duration("in", wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

var errRank = errors.New("this process's rank among those that pull has changed")

// maxRank is the last that the broker tells apart.
const maxRank = 9

// stateLost says that the broker has a consumer without its directory, which it
// then can neither change nor save: deleting a consumer removes its directory
// late, and so can take that of one of the same name that was made meanwhile
// (seen with server 2.15.2).
func stateLost(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == 10012 || refused.ErrorCode == 10104) &&
		strings.Contains(refused.Description, "no such file or directory")
}

// remove deletes the consumer, so that it is made anew. What it had acknowledged
// comes again, and whoever handles it knows it.
func (s Source) remove(ctx context.Context) error {
	err := s.JS.DeleteConsumer(ctx, s.Stream, s.Consumer.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	return err
}

func (s Source) consume(ctx context.Context, started func(), handle func(jetstream.Msg)) error {
	c, err := consumer(ctx, s.JS, s.Stream, s.Consumer, s.Streams.External)
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	options := []jetstream.PullConsumeOpt{
		jetstream.PullMaxMessages(s.Ahead), jetstream.PullExpiry(10 * time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
				errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoHeartbeat) {
				select {
				case lost <- err:
				default:
				}
			}
		}),
	}
	var changed <-chan struct{}
	// One that is given may have no group, and then refuses to hear of one.
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
	cc.Drain() // what was fetched goes through handle or back
	<-cc.Closed()
	return err
}
