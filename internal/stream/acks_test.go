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

// mute subscribes to a subject without acknowledging messages, like a broker without a
// leader.
func mute(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	sub, err := nc.Subscribe(subject, func(*nats.Msg) {})
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	t.Cleanup(func() { _ = sub.Unsubscribe() })
}

func TestWaitingForAnAcknowledgementIsBounded(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	mute(t, nc, "void")
	var futures []jetstream.PubAckFuture
	for _, subject := range []string{"mail.events.x.y", "void", "void"} {
		f, err := js.PublishAsync(subject, nil)
		require.NoError(t, err)
		futures = append(futures, f)
	}
	// The relay's round of 30 s needs time afterwards to release its rows.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*stream.AckTime, errors.New("it waited for too long"))
	defer cancel()
	require.ErrorIs(t, stream.Acknowledged(ctx, stream.Events, futures), stream.ErrNoAck)
	accepted, err := js.PublishAsync("mail.events.x.y", nil)
	require.NoError(t, err)
	require.NoError(t, stream.Acknowledged(ctx, stream.Events, []jetstream.PubAckFuture{accepted}))
	gone := errors.New("stopped")
	stopped, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { stop(gone) })
	require.ErrorIs(t, stream.Acknowledged(stopped, stream.Events, futures), gone)
}
