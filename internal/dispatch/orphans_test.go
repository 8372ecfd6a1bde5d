package dispatch

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// rescues claims the partitions of an owner whose lease ended at a time, has the owner before fetch the row, and searches.
// It reports whether the row is due then.
func (l *handedOut) rescues(t *testing.T, owner any, leasedUntil string, own bool) (due bool) {
	t.Helper()
	ctx := context.Background()
	fetch := func() {
		_, err := l.d.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now(), leased = false`)
		require.NoError(t, err)
		got, _, err := subscribers.FetchDue(ctx, l.d.pool, []subscribers.FetchRequest{{WebhookID: l.q.WebhookID, Room: 1}})
		require.NoError(t, err)
		require.Len(t, got, 1)
	}
	fetch()
	tenure := l.claims(t, owner, leasedUntil)
	if own {
		fetch()
	}
	in := newInbox(l.partition, tenure, l.d.clock.latest())
	l.d.inboxes[l.partition].Store(in)
	require.NoError(t, l.d.rescue(ctx, l.partition))
	require.NoError(t, l.d.pool.QueryRow(ctx, `SELECT NOT leased AND next_retry_at <= now() FROM fanmail.webhook_subscriber_deliveries`).Scan(&due))
	return due
}

func TestWhatADeadOwnerHadFetchedIsDueOnceItsAttemptsHaveEnded(t *testing.T) {
	t.Parallel()
	dead := events.NewRandom[events.TenantKind]()
	for name, c := range map[string]struct {
		owner any
		until string
		own   bool
		want  bool
	}{
		"its attempts have ended":                {dead, `now() - interval '16 seconds'`, false, true},
		"its attempts may be in flight":          {dead, `now() - interval '1 second'`, false, false},
		"it handed over":                         {nil, `'-infinity'`, false, true},
		"this process fetched it since":          {dead, `now() - interval '16 seconds'`, true, false},
		"it handed over with attempts in flight": {nil, `now()`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, handOut(t).rescues(t, c.owner, c.until, c.own))
		})
	}
}
