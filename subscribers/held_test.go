package subscribers_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// takers are the changes that people and rules make to pending rows. Each returns what
// it answers.
var takers = map[string]func(context.Context, *engine, subscribers.Leased) error{
	"a retry": func(ctx context.Context, e *engine, l subscribers.Leased) error {
		_, err := e.Retry(ctx, e.tenant, l.ID)
		return err
	},
	"enabling the webhook": func(ctx context.Context, e *engine, _ subscribers.Leased) error {
		for _, on := range []bool{false, true} {
			if _, err := e.Update(ctx, e.tenant, e.hook.ID, subscribers.Patch{Enabled: &on}); err != nil {
				return err
			}
		}
		return nil
	},
	"deleting the webhook": func(ctx context.Context, e *engine, _ subscribers.Leased) error {
		return e.Delete(ctx, e.tenant, e.hook.ID)
	},
	"a cancelled replay": func(ctx context.Context, e *engine, l subscribers.Leased) error {
		return pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
			_, err := subscribers.CancelReplayed(ctx, tx, &subscribers.ReplayRef{CreatedAt: l.CreatedAt}, []events.DeliveryID{l.ID})
			return err
		})
	},
	"the end of the retention": func(ctx context.Context, e *engine, _ subscribers.Leased) error {
		_, err := retention.Run(ctx, e.pool, subscribers.RetentionRules(retention.Policy{}))
		return err
	},
}

// old inserts a due row that is past its retention, and whose partition is still kept.
func (e *engine) old() {
	e.t.Helper()
	e.exec(e.t, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 31, 32)`)
	e.at = e.at.Add(-subscribers.Retention - 1e9)
	e.rows(e.hook.ID, 1)
	e.exec(e.t, `UPDATE fanmail.webhook_subscriber_deliveries SET expires_at = now() + interval '1 day'`)
}

func TestNothingTakesARowFromTheDispatcherThatHoldsIt(t *testing.T) {
	t.Parallel()
	for name, take := range takers {
		for lease, attempts := range map[string]int{"before the first attempt": 0, "before a later attempt": 3} {
			t.Run(name+" "+lease, func(t *testing.T) {
				t.Parallel()
				ctx := t.Context()
				e := newEngine(t)
				e.old()
				e.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET attempts = $1`, attempts)
				l := e.lease(1)[0]
				err := take(ctx, e, l)
				if name == "a retry" {
					require.ErrorIs(t, err, subscribers.ErrInFlight)
					require.ErrorContains(t, err, "retry it after its lease ends at 20")
				} else {
					require.NoError(t, err)
				}
				require.Len(t, e.write(subscribers.OutcomeBatch{Renew: []subscribers.Lease{{Ref: l.Ref, Lease: l.Lease}}}).Renewed, 1, "the lease is as it was")
				e.write(e.outcome(l, attempts+1, true))
				require.Equal(t, 1, e.count(t, `status = 'delivered'`), "the row says what the receiver saw")
			})
		}
	}
}

// A row that waits for its next attempt, or whose lease has run out, is nobody's.
func TestARowThatNobodyHoldsCanBeChanged(t *testing.T) {
	t.Parallel()
	states := map[string]func(*engine, subscribers.Leased){
		"it waits for a retry": func(e *engine, l subscribers.Leased) { e.write(e.outcome(l, 1, false)) },
		"its lease was released": func(e *engine, l subscribers.Leased) {
			e.write(subscribers.OutcomeBatch{Release: []subscribers.Lease{{Ref: l.Ref, Lease: l.Lease}}})
		},
		"its lease has run out": func(e *engine, _ subscribers.Leased) {
			e.exec(e.t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now()`)
		},
	}
	for name, take := range takers {
		for state, reach := range states {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				e := newEngine(t)
				e.old()
				l := e.lease(1)[0]
				reach(e, l)
				require.NoError(t, take(t.Context(), e, l))
				require.Zero(t, e.count(t, `next_retry_at > now()`), "it is due, or has ended")
				require.Empty(t, e.write(subscribers.OutcomeBatch{Renew: []subscribers.Lease{{Ref: l.Ref, Lease: l.Lease}}}).Renewed)
			})
		}
	}
}

func TestADeliveryThatIsRetriedOnRequestCanBeRetriedAgain(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	failed := e.outcome(l, 1, false)
	failed.Outcomes[0].Final, failed.Outcomes[0].Lease = true, l.Lease
	e.write(failed)
	for range 2 {
		d, err := e.Retry(t.Context(), e.tenant, l.ID)
		require.NoError(t, err)
		require.Equal(t, "pending", d.Status)
		require.Equal(t, 1, e.count(t, `next_retry_at <= now() AND NOT leased`))
	}
}

// The answer to a commit can be lost, and the batch is written again.
func TestALeaseThatWasRenewedInDoubtIsStillTheCallers(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 2)
	l := e.lease(2)
	renewal := subscribers.OutcomeBatch{RenewTo: l[0].Lease + time.Minute.Microseconds()}
	for _, r := range l {
		renewal.Renew = append(renewal.Renew, subscribers.Lease{Ref: r.Ref, Lease: r.Lease})
	}
	for range 2 {
		require.Equal(t, map[events.DeliveryID]int64{l[0].ID: renewal.RenewTo, l[1].ID: renewal.RenewTo}, e.write(renewal).Renewed)
	}
	e.write(subscribers.OutcomeBatch{Release: []subscribers.Lease{{Ref: l[0].Ref, Lease: renewal.RenewTo}}})
	require.Len(t, e.lease(1), 1, "another has leased it since")
	require.Equal(t, map[events.DeliveryID]int64{l[1].ID: renewal.RenewTo}, e.write(renewal).Renewed)
}
