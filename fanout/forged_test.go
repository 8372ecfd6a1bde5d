package fanout_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestAForgedMessageTakesNoEventsRow publishes messages with the tenant and the sequence of a row in the outbox: of
// another event, of another time, and the event itself as the answer of a direct get.
func TestAForgedMessageTakesNoEventsRow(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}))
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	real := events.Record{ID: insert(t, pool, tenant, 1), TenantID: tenant, Type: events.EmailReceived}
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT seq, created_at FROM fanmail.outbox`).Scan(&real.Seq, &real.CreatedAt))
	other, late := real, real
	other.ID, late.CreatedAt = events.NewRandom[events.EventKind](), real.CreatedAt.Add(time.Microsecond)
	answer := stream.EncodeEvent(&real, []byte(`{"forged":true}`))
	answer.Header["Nats-Stream"] = []string{"OBJ_mail-raw"}
	for _, m := range []*nats.Msg{stream.EncodeEvent(&other, []byte(`{}`)), stream.EncodeEvent(&late, []byte(`{}`)), answer} {
		_, err := js.PublishMsg(t.Context(), m)
		require.NoError(t, err)
	}
	stop := fanOut(t, pool, nc, js, second{&lanes{due: map[events.WebhookID]int{}, fed: map[events.WebhookID]int{}}})
	require.Eventually(t, func() bool {
		c, err := js.Consumer(t.Context(), stream.Events, stream.Fanout)
		return err == nil && c.CachedInfo().AckFloor.Stream == 3
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, 1, number(t, pool, inOutbox))
	require.Zero(t, number(t, pool, deliveries))
	_, err := js.PublishMsg(t.Context(), stream.EncodeEvent(&real, []byte(`{}`)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return number(t, pool, inOutbox) == 0 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, 1, number(t, pool, deliveries+` WHERE event_id = $1`, real.ID))
	stop()
}

// second are the lanes of a dispatcher that is not first in rank, whose fan-out takes nothing past the broker.
type second struct{ *lanes }

func (second) Rank() (int, <-chan struct{}) { return 1, nil }
