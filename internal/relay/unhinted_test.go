package relay_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestTheRelayDoesWithoutHintsWhileManyEventsCome: the events are published all the
// same, and when they have become few the relay listens again.
func TestTheRelayDoesWithoutHintsWhileManyEventsCome(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	start(t, pool, nc, js)
	// The broker answers a request at once if nobody listens; the relay never answers.
	listens := func() bool {
		_, err := nc.Request(events.WakeOutbox, nil, 20*time.Millisecond)
		return !errors.Is(err, nats.ErrNoResponders)
	}
	require.Eventually(t, listens, time.Minute, time.Millisecond)
	inserted := 0
	require.Eventually(t, func() bool {
		insert(t, pool, numbered(ten, inserted, 200)...)
		inserted += 200
		return !listens()
	}, time.Minute, time.Millisecond)
	insert(t, pool, numbered(ten, inserted, 10)...)
	require.Len(t, read(t, js, inserted+10), inserted+10)
	require.Eventually(t, listens, time.Minute, time.Millisecond)
}
