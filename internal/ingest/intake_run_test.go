package ingest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// handIn publishes so many small events to a tenant's own stream.
func handIn(t testing.TB, js jetstream.JetStream, of events.TenantID, n int) {
	t.Helper()
	var last jetstream.PubAckFuture
	for i := range n {
		var err error
		last, err = js.PublishAsync(events.OwnIntakePrefix+of.String(), fmt.Appendf(nil, `{"type":"email.sent","data":{},"idempotency_key":"%d"}`, i))
		require.NoError(t, err)
	}
	<-js.PublishAsyncComplete()
	select {
	case <-last.Ok():
	case err := <-last.Err():
		require.NoError(t, err)
	}
}

// TestAFloodOfATenantDelaysOthersByTurns: three tenants have many events each in their own streams and in the shared one,
// and one has a single event. It is taken in after a batch or so of each of the others.
func TestAFloodOfATenantDelaysOthersByTurns(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	as := guarded(t)
	_, operator := as("operator")
	const batch, each = 500, 2000
	flooders := []events.TenantID{tenant(t, pool), tenant(t, pool), tenant(t, pool)}
	honest := tenant(t, pool)
	require.NoError(t, stream.EnsureAll(t.Context(), operator, stream.Options{IntakeTenants: append(flooders, honest)}))
	for _, f := range flooders {
		handIn(t, operator, f, each)
	}
	handIn(t, operator, honest, 1)
	nc, js := as("ingest")
	reg := prometheus.NewRegistry()
	running(t, ingest.NewIntake(pool, js, nc, ingest.IntakeOptions{Streams: stream.Options{External: true}, Registerer: reg}).Run)
	require.Eventually(t, func() bool {
		evs, _, _, _ := counts(t, pool)
		return evs == len(flooders)*each+1
	}, 9*patience, 20*time.Millisecond)
	var before int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.outbox
		WHERE seq < (SELECT seq FROM fanmail.outbox WHERE tenant_id = $1)`, honest).Scan(&before))
	require.LessOrEqual(t, before, (len(flooders)+2)*batch, "a batch of each stream, and those under way")
}

// TestTenantsIntakeStreamsComeAndGo: a stream that is created while intakes run is taken from, one that is removed ends
// nothing else, and one that is created again is found.
func TestTenantsIntakeStreamsComeAndGo(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	as := guarded(t)
	_, operator := as("operator")
	nc, js := as("ingest")
	running(t, ingest.NewIntake(pool, js, nc, ingest.IntakeOptions{Streams: stream.Options{External: true}}).Run)
	own := tenant(t, pool)
	for n := 1; n <= 2; n++ {
		require.NoError(t, stream.EnsureAll(t.Context(), operator, stream.Options{IntakeTenants: []events.TenantID{own}}))
		publish(t, operator, events.OwnIntakePrefix+own.String(), `{"type":"email.sent","data":{}}`)
		require.Eventually(t, func() bool { evs, _, _, _ := counts(t, pool); return evs == n }, 3*patience, 20*time.Millisecond)
		require.NoError(t, operator.DeleteStream(context.Background(), stream.OwnIntakeName(own)))
	}
}
