package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// mute takes what is published to a subject and acknowledges nothing, as a
// broker does that has lost its leader.
func mute(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	sub, err := nc.Subscribe(subject, func(*nats.Msg) {})
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	t.Cleanup(func() { _ = sub.Unsubscribe() })
}

func TestAnAcknowledgementThatNeverComesIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	mute(t, nc, "void")
	var futures []jetstream.PubAckFuture
	for _, subject := range []string{"mail.events.x.y", "void", "void"} {
		f, err := js.PublishAsync(subject, nil)
		require.NoError(t, err)
		futures = append(futures, f)
	}
	// Far less than the 30 s of a relay's round, which must have time left to
	// hand its rows back.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*stream.AckTime, errors.New("it was waited for"))
	defer cancel()
	require.ErrorIs(t, stream.Acknowledged(ctx, stream.Events, futures), stream.ErrNoAck)
	sound, err := js.PublishAsync("mail.events.x.y", nil)
	require.NoError(t, err)
	require.NoError(t, stream.Acknowledged(ctx, stream.Events, []jetstream.PubAckFuture{sound}))
	gone := errors.New("stopped")
	stopped, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { stop(gone) })
	require.ErrorIs(t, stream.Acknowledged(stopped, stream.Events, futures), gone)
}
