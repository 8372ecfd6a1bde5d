package relay_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestAnIdleRelayTellsHowTheBrokerStands has no event to publish, before, during and after the fault.
func TestAnIdleRelayTellsHowTheBrokerStands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code  string
		fault func(t *testing.T, js jetstream.JetStream) (mend func())
	}{
		"the account is full": {"10002", func(t *testing.T, js jetstream.JetStream) func() {
			t.Helper()
			_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Discard: jetstream.DiscardNew})
			require.NoError(t, err)
			size := 1 << 20
			require.Eventually(t, func() bool {
				if _, err := js.Publish(context.Background(), "other", make([]byte, size)); err != nil {
					size /= 2
				}
				return size < 4<<10
			}, time.Minute, time.Millisecond)
			return func() { require.NoError(t, js.DeleteStream(context.Background(), "OTHER")) }
		}},
		"the stream is full": {"10077", func(t *testing.T, js jetstream.JetStream) func() {
			t.Helper()
			set := func(d jetstream.DiscardPolicy, bytes int64) {
				s, err := js.Stream(context.Background(), stream.Events)
				require.NoError(t, err)
				config := s.CachedInfo().Config
				config.Discard, config.MaxBytes = d, bytes
				_, err = js.UpdateStream(context.Background(), config)
				require.NoError(t, err)
			}
			set(jetstream.DiscardNew, 1)
			return func() { set(jetstream.DiscardOld, 1<<20) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := natstest.Configured(t, `
				jetstream {}
				accounts { FANMAIL { jetstream { max_mem: 64MB, max_file: 64MB }, users: [ {user: fanmail, password: fanmail} ] } }
				no_auth_user: fanmail`)
			nc, err := nats.Connect(url)
			require.NoError(t, err)
			t.Cleanup(nc.Close)
			js, err := stream.Open(nc, "")
			require.NoError(t, err)
			require.NoError(t, stream.Ensure(context.Background(), js, stream.Options{Role: stream.Publisher}))
			ctx, cancel := context.WithCancel(context.Background())
			r := relay.New(pgtest.Pool(t), nc, js, relay.Options{Log: zaptest.NewLogger(t), Streams: stream.Options{Role: stream.Publisher}})
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

			mend := c.fault(t, js)
			require.Eventually(t, func() bool {
				f, known := health.Explain(r.Publishing().Err)
				return known && f.Code == c.code
			}, time.Minute, 10*time.Millisecond)
			require.Zero(t, r.Publishing().LastSuccess, "nothing was published")
			mend()
			require.Eventually(t, func() bool { return r.Publishing().Err == nil }, time.Minute, 10*time.Millisecond)
			require.Zero(t, r.Publishing().LastSuccess)
			s, err := js.Stream(ctx, stream.Events)
			require.NoError(t, err)
			require.Zero(t, s.CachedInfo().State.LastSeq)
		})
	}
}

// TestALookDoesNotEndTheSilenceOfAStreamTwice has a stream that answers and acknowledges nothing, like one whose disk is
// full.
func TestALookDoesNotEndTheSilenceOfAStreamTwice(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	acknowledge := func(does bool) {
		s, err := js.Stream(ctx, stream.Events)
		require.NoError(t, err)
		config := s.CachedInfo().Config
		config.NoAck = !does
		_, err = js.UpdateStream(ctx, config)
		require.NoError(t, err)
	}
	acknowledge(false)
	run, cancel := context.WithCancel(ctx)
	logs, seen := observer.New(zap.InfoLevel)
	r := relay.New(pool, nc, js, relay.Options{Log: zap.New(logs), Streams: stream.Options{Role: stream.Publisher}})
	done := make(chan error, 1)
	go func() { done <- r.Run(run) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	answers := func() int { return seen.FilterMessage("the broker answers again").Len() }

	insert(t, pool, numbered(ten, 0, 1)...)
	require.Eventually(t, func() bool { return answers() == 1 }, 2*time.Minute, 10*time.Millisecond)
	first := r.Publishing().Last
	var silent stream.Publishing
	require.Eventually(t, func() bool {
		silent = r.Publishing()
		return errors.Is(silent.Err, stream.ErrNoAck) && silent.Last.After(first)
	}, 2*time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return r.Publishing().Last.Sub(silent.Last) > 2*stream.RoomEvery }, 2*time.Minute, 10*time.Millisecond)
	require.Equal(t, 1, answers())
	require.ErrorIs(t, r.Publishing().Err, stream.ErrNoAck)

	acknowledge(true)
	require.Eventually(t, func() bool { return r.Publishing().Err == nil && !r.Publishing().LastSuccess.IsZero() }, 2*time.Minute, 10*time.Millisecond)
}
