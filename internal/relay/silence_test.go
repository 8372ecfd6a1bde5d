package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestTheRelayHandsItsRowsBackWhenTheBrokerFallsSilent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	require.NoError(t, js.DeleteStream(ctx, stream.Events))
	// Somebody takes the messages and nobody acknowledges them.
	taken := make(chan *nats.Msg, 100)
	sub, err := nc.ChanSubscribe("mail.events.>", taken)
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	done := insert(t, pool, numbered(ten, 0, 3)...)
	stop := start(t, pool, nc, js)
	// While the first lease still runs.
	require.Eventually(t, func() bool {
		var back bool
		err := pool.QueryRow(ctx, `SELECT count(*) = 3 FROM fanmail.outbox WHERE publishes = 1 AND leased_until = '-infinity'`).Scan(&back)
		require.NoError(t, err)
		return back
	}, 2*time.Minute, 5*time.Millisecond)
	require.NotEmpty(t, taken)
	require.NoError(t, sub.Unsubscribe())
	// The stream is made again, and has them under new ids.
	require.Eventually(t, func() bool {
		_, err := js.Stream(ctx, stream.Events)
		return err == nil
	}, time.Minute, 5*time.Millisecond)
	got := read(t, js, 3)
	stop()
	for i, m := range got {
		require.Equal(t, done[i].ID.String()+":2", m.Headers().Get("Nats-Msg-Id"))
	}
}
