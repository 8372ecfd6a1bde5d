package agentwebhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func (r *rig) retry(tenant events.TenantID, id events.MessageID) (d agentwebhook.Delivery, err error) {
	err = pgx.BeginFunc(r.ctx(), r.pool, func(tx pgx.Tx) (err error) {
		d, err = agentwebhook.Retry(r.ctx(), tx, tenant, id)
		return err
	})
	return d, err
}

func TestDeliveriesToAnAgentAreListedNewestFirstByTenantAndStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, other := r.agent("a@example.com", "/a"), r.agent("b@example.com", "/b")
	for n := range 7 {
		r.send(mailTo(n, a), a)
	}
	r.send(mailTo(99, other), other)
	all := r.rows(a)
	r.exec(`UPDATE fanmail.webhook_deliveries SET status = 'failed', next_retry_at = NULL, finished_at = now(), last_error = 'no' WHERE message_id = $1`, all[2].Message)
	// All have one creation time: pages end within it.
	r.exec(`UPDATE fanmail.webhook_deliveries SET created_at = date_trunc('minute', created_at)`)
	seen := map[events.MessageID]bool{}
	var at agentwebhook.Place
	for {
		page, _, err := agentwebhook.List(r.ctx(), r.pool, r.tenant, a, "", at, 3)
		require.NoError(t, err)
		for _, d := range page {
			require.False(t, seen[d.MessageID])
			require.Equal(t, a, d.AgentID)
			seen[d.MessageID] = true
			at = agentwebhook.Place{CreatedAt: d.CreatedAt, ID: d.MessageID}
		}
		if len(page) < 3 {
			break
		}
	}
	require.Len(t, seen, 7)
	failed, end, err := agentwebhook.List(r.ctx(), r.pool, r.tenant, a, "failed", agentwebhook.Place{}, 100)
	require.NoError(t, err)
	require.Zero(t, end)
	require.Len(t, failed, 1)
	require.Equal(t, all[2].Message, failed[0].MessageID)
	require.Equal(t, "no", failed[0].LastError)
	require.Nil(t, failed[0].NextRetryAt)
	require.Equal(t, 48*time.Hour, failed[0].ExpiresAt.Sub(failed[0].CreatedAt).Round(2*time.Minute))

	stranger := events.NewRandom[events.TenantKind]()
	none, _, err := agentwebhook.List(r.ctx(), r.pool, stranger, a, "", agentwebhook.Place{}, 100)
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = agentwebhook.Get(r.ctx(), r.pool, stranger, all[0].Message)
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery)
	_, err = r.retry(stranger, all[0].Message)
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery)
	var field *events.FieldError
	_, _, err = agentwebhook.List(r.ctx(), r.pool, r.tenant, a, "lost", agentwebhook.Place{}, 1)
	require.ErrorAs(t, err, &field)
}

func TestARetryMakesADeliveryDueUnlessItIsOverOrInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.FailFirst(2, sink.Answer{Status: http.StatusBadGateway}))
	r.send(mailTo(1, a), a)
	id := r.rows(a)[0].Message
	d := r.deliverer()
	require.NoError(t, d.Round(r.ctx()))
	got, err := r.retry(r.tenant, id) // it waits for its second attempt
	require.NoError(t, err)
	require.Equal(t, "pending", got.Status)
	require.Equal(t, 1, got.Attempts)
	require.Equal(t, 8, got.MaxAttempts)
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, 2, r.rows(a)[0].Attempts)

	r.exec(`UPDATE fanmail.webhook_deliveries SET status = 'failed', next_retry_at = NULL, finished_at = now()`)
	got, err = r.retry(r.tenant, id)
	require.NoError(t, err)
	require.Equal(t, 10, got.MaxAttempts, "as many as a new one, after those that were made")
	r.exec(`UPDATE fanmail.webhook_deliveries SET leased = true, next_retry_at = now() + interval '1 minute'`)
	_, err = r.retry(r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrInFlight)
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now() - interval '1 second'`)
	_, err = r.retry(r.tenant, id)
	require.NoError(t, err, "the lease has ended")
	r.exec(`UPDATE fanmail.webhook_deliveries SET expires_at = now()`)
	_, err = r.retry(r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrExpired)
	r.exec(`UPDATE fanmail.webhook_deliveries SET expires_at = now() + interval '1 hour'`)
	require.NoError(t, d.Round(r.ctx()))
	_, err = r.retry(r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrDelivered)
	require.Equal(t, 3, r.sink.CountTo("/a"))
}

// The process that asks has no way to the endpoint: the deliverer that answers makes the attempt.
func TestADelivererAnswersWithTheOutcomeOfAnAttemptOnRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.FailFirst(2, sink.Answer{Status: http.StatusBadGateway}))
	r.send(mailTo(1, a), a)
	id := r.rows(a)[0].Message
	_, err := agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrBusy, "no deliverer runs")
	_, err = agentwebhook.Ask(r.ctx(), nil, r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrBusy)
	for range 2 { // one of them answers
		r.run(r.deliverer().Run)
	}
	v := r.until(a, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	o, err := agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.NoError(t, err, "though it waits for its next attempt")
	require.Equal(t, agentwebhook.Outcome{StatusCode: 502, Error: "answered 502"}, o)
	require.Equal(t, 2, r.rows(a)[0].Attempts)
	require.Equal(t, "pending", r.rows(a)[0].Status, "it is retried as usual")
	o, err = agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.NoError(t, err)
	require.Equal(t, agentwebhook.Outcome{Success: true, StatusCode: 200}, o)
	require.Equal(t, "delivered", r.rows(a)[0].Status)
	_, err = agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrDelivered)
	_, err = agentwebhook.Ask(r.ctx(), r.nc, events.NewRandom[events.TenantKind](), id)
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery, "the message belongs to another tenant")
	require.Equal(t, 3, r.sink.CountTo("/a"))

	hold := make(chan struct{})
	r.sink.Script("/a", sink.Hang(hold))
	r.send(mailTo(2, a), a)
	require.NoError(t, r.sink.WaitForPath(r.ctx(), "/a", 4))
	_, err = agentwebhook.Ask(r.ctx(), r.nc, r.tenant, r.rows(a)[1].Message)
	require.ErrorIs(t, err, agentwebhook.ErrInFlight)
	close(hold)

	// A message from before the table's first partition.
	r.exec(`SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 9, 10)`)
	r.exec(`DELETE FROM fanmail.webhook_deliveries`)
	r.exec(`UPDATE fanmail.messages SET created_at = created_at - interval '8 days'`)
	_, err = agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrExpired)
	r.exec(`UPDATE fanmail.messages SET created_at = created_at + interval '8 days'`)
	r.exec(`UPDATE fanmail.agents SET webhook_url = NULL`)
	_, err = agentwebhook.Ask(r.ctx(), r.nc, r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery)
}
