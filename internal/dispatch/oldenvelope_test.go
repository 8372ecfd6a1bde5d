package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
)

// waits reports whether all deliveries of a webhook wait for later, without a lease, and how many attempts they have.
func (r *rig) waits(w events.WebhookID) (all bool, attempts int) {
	r.t.Helper()
	require.NoError(r.t, r.pool.QueryRow(context.Background(), `SELECT coalesce(bool_and(status = 'pending' AND NOT leased AND next_retry_at > now()), false),
		coalesce(sum(attempts), 0)::int + (SELECT count(*)::int FROM fanmail.webhook_delivery_attempts)
		FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, w).Scan(&all, &attempts))
	return all, attempts
}

// TestAMailThatCannotBeReadForAnOlderEnvelopeUsesUpNoAttempt: the database or the blob store is away, and the endpoint is
// not. So many failures of an endpoint would open its breaker.
func TestAMailThatCannotBeReadForAnOlderEnvelopeUsesUpNoAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var away atomic.Bool
	var asked atomic.Int32
	away.Store(true)
	r.old = func(_ context.Context, _ events.TenantID, envelope []byte) ([]byte, func(), error) {
		asked.Add(1)
		if away.Load() {
			return nil, nil, errors.New("the blob store is away")
		}
		return append([]byte(`{"old":`), append(envelope, '}')...), func() {}, nil
	}
	w := r.webhook("/old")
	r.set(w, `envelope = 'v0.4', envelope_until = now() + interval '1 day', max_attempts = 1`)
	r.relay()
	r.dispatcher()
	const n = 40
	r.insert(n)
	r.inserted(n)
	require.Eventually(t, func() bool { all, _ := r.waits(w); return all && asked.Load() >= n }, 60*time.Second, 20*time.Millisecond)
	_, attempts := r.waits(w)
	require.Zero(t, attempts)
	require.Zero(t, r.sink.CountTo("/old"))

	away.Store(false)
	r.makeDue(w)
	r.settles(map[string]int{"delivered": n})
	require.Contains(t, string(r.sink.PostsTo("/old")[0].Body), `{"old":`)
	require.NoError(t, r.sink.PostsTo("/old")[0].VerifyErr)
}

// TestAMailThatIsLostForAnOlderEnvelopeEndsWithTheReason, without an attempt, and others go on.
func TestAMailThatIsLostForAnOlderEnvelopeEndsWithTheReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var first atomic.Bool
	r.old = func(_ context.Context, _ events.TenantID, envelope []byte) ([]byte, func(), error) {
		if first.CompareAndSwap(false, true) {
			return nil, nil, fmt.Errorf("%w: its blob is gone", dispatch.ErrLost)
		}
		return envelope, func() {}, nil
	}
	w := r.webhook("/old")
	r.set(w, `envelope = 'v0.4', envelope_until = now() + interval '1 day'`)
	r.relay()
	r.dispatcher()
	r.insert(1)
	v := r.until(w, func(v row) bool { return v.Finished })
	require.Equal(t, "failed", v.Status)
	require.Zero(t, v.Attempts)
	require.Contains(t, *v.Error, "missing or damaged")
	r.insert(3)
	r.settles(map[string]int{"failed": 1, "delivered": 3})
	_, attempts := r.waits(w)
	require.Equal(t, 3, attempts)
}
