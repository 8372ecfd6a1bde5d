package stream_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// puller is a process that pulls events.
type puller struct {
	began, got chan struct{} // one value for each start, each message
	hold       chan struct{} // if not nil, each message blocks on it

	mu      sync.Mutex
	rank    int
	changed chan struct{}
}

func pull(t *testing.T, js jetstream.JetStream, rank int, hold chan struct{}) *puller {
	t.Helper()
	p := &puller{began: make(chan struct{}, 8), got: make(chan struct{}, 1000), hold: hold, rank: rank, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- stream.Source{
			JS: js, Stream: stream.Events, Consumer: stream.FanoutConsumer(), Ahead: 10, Log: zaptest.NewLogger(t),
			Rank:    func() (int, <-chan struct{}) { p.mu.Lock(); defer p.mu.Unlock(); return p.rank, p.changed },
			Started: func() { p.began <- struct{}{} },
		}.Run(ctx, func(m jetstream.Msg) {
			p.got <- struct{}{}
			if p.hold != nil {
				<-p.hold
			}
			_ = m.Ack()
		})
	}()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	<-p.began
	return p
}

func (p *puller) become(rank int) {
	p.mu.Lock()
	p.rank = rank
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	<-p.began
}

// asking waits until n pull requests are open at the broker.
func asking(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := js.Consumer(t.Context(), stream.Events, stream.Fanout)
		require.NoError(t, err)
		info, err := c.Info(t.Context())
		require.NoError(t, err)
		return info.NumWaiting == n
	}, time.Minute, 5*time.Millisecond)
}

func TestTheLowestRankGetsAllMessagesWhileItKeepsUp(t *testing.T) {
	t.Parallel()
	js := connect(t)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	publish := func(n int) {
		for range n {
			_, err := js.Publish(t.Context(), "mail.events.x.y", nil)
			require.NoError(t, err)
		}
	}
	release := make(chan struct{})
	first, second := pull(t, js, 0, release), pull(t, js, 1, nil)
	asking(t, js, 2)
	// The first gets the ten messages that it has requested, although it blocks on the
	// first of them. The second gets none.
	publish(10)
	<-first.got
	asking(t, js, 1)
	require.Empty(t, second.got)
	// Further messages go to the second.
	publish(5)
	for range 5 {
		<-second.got
	}
	close(release)
	for range 9 {
		<-first.got
	}
	// A change of ranks takes effect at once.
	second.become(0)
	first.become(1)
	asking(t, js, 2)
	publish(4)
	for range 4 {
		<-second.got
	}
	require.Empty(t, first.got)
}

func TestAnExistingConsumerGetsThePriorityGroup(t *testing.T) {
	t.Parallel()
	js := connect(t)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{Role: stream.Publisher}))
	older := stream.FanoutConsumer()
	older.PriorityPolicy, older.PriorityGroups = jetstream.PriorityPolicyNone, nil
	_, err := js.CreateConsumer(t.Context(), stream.Events, older)
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	c, err := js.Consumer(t.Context(), stream.Events, stream.Fanout)
	require.NoError(t, err)
	require.Equal(t, jetstream.PriorityPolicyPrioritized, c.CachedInfo().Config.PriorityPolicy)
}
