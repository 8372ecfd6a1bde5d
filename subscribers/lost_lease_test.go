package subscribers_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// An owner that was paused past its lease records its failure while the next owner
// holds the row: the attempt counts, and neither the last attempt nor the wait for
// another takes the row from its holder.
func TestTheFailureOfALostLeaseCountsAndLeavesTheRowToItsHolder(t *testing.T) {
	t.Parallel()
	for name, maxAttempts := range map[string]int{"attempts are left": 8, "it was the last": 1} {
		e := newEngine(t)
		e.rows(e.hook.ID, 1)
		e.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET max_attempts = $1`, maxAttempts)
		l := e.lease(1)[0]
		e.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() + interval '1 hour'`) // another has leased it
		late := e.outcome(l, 1, false)
		late.Outcomes[0].Lease = l.Lease
		e.write(late)
		var status string
		var attempts int
		var same bool
		row := func() {
			t.Helper()
			require.NoError(t, e.pool.QueryRow(context.Background(), `SELECT status, attempts, coalesce(next_retry_at > now() + interval '59 minutes', false)
				FROM fanmail.webhook_subscriber_deliveries WHERE id = $1`, l.ID).Scan(&status, &attempts, &same))
		}
		row()
		require.Equal(t, "pending", status, name)
		require.Equal(t, 1, attempts, name)
		require.True(t, same, "%s: the holder's lease stays", name)

		e.write(e.outcome(l, 1, true)) // the holder's
		row()
		require.Equal(t, "delivered", status, name)
		require.Equal(t, 2, attempts, name)
	}
}
