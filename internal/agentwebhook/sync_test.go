package agentwebhook_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestDeliverSyncReturnsAndRecordsTheResult(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.FailFirst(1, sink.Answer{Status: http.StatusBadGateway}))
	r.send(mailTo(1, a), a)
	id := r.rows(a)[0].Message
	d := r.deliverer() // it does not run, so only DeliverSync makes attempts
	o, err := d.DeliverSync(r.ctx(), r.tenant, id)
	require.NoError(t, err)
	require.False(t, o.Delivered)
	require.Equal(t, http.StatusBadGateway, o.StatusCode)
	require.Equal(t, "answered 502", o.Error)
	v := r.rows(a)[0]
	require.Equal(t, 1, v.Attempts)
	require.Equal(t, "pending", v.Status, "it is retried as usual")
	require.InDelta(t, 60, *v.NextIn, 7)
	_, err = d.DeliverSync(r.ctx(), r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrNotDue)
	r.makeDue()
	o, err = d.DeliverSync(r.ctx(), r.tenant, id)
	require.NoError(t, err)
	require.True(t, o.Delivered)
	require.Equal(t, "delivered", r.rows(a)[0].Status)
	_, err = d.DeliverSync(r.ctx(), r.tenant, id)
	require.ErrorIs(t, err, agentwebhook.ErrNotDue)

	r.exec(`DELETE FROM fanmail.webhook_deliveries`)
	_, err = d.DeliverSync(r.ctx(), events.NewRandom[events.TenantKind](), id)
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery, "the message belongs to another tenant")
	require.Equal(t, 2, r.sink.Count())
	// A message that has no delivery yet gets one.
	o, err = d.DeliverSync(r.ctx(), r.tenant, id)
	require.NoError(t, err)
	require.True(t, o.Delivered)
	require.Equal(t, "delivered", r.rows(a)[0].Status)
	require.Equal(t, 3, r.sink.Count())

	_, err = d.DeliverSync(r.ctx(), r.tenant, events.NewRandom[events.MessageKind]())
	require.ErrorIs(t, err, agentwebhook.ErrNoDelivery)
}

func TestAnAttemptIsRecordedIfItsCallerLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/a", sink.Hang(hold))
	r.send(mailTo(1, a), a)
	ctx, leave := context.WithCancel(r.ctx())
	go func() {
		_ = r.sink.WaitFor(ctx, 1)
		leave()
	}()
	o, err := r.deliverer().DeliverSync(ctx, r.tenant, r.rows(a)[0].Message)
	require.NoError(t, err)
	require.Contains(t, o.Error, "the caller left")
	require.Equal(t, 1, r.rows(a)[0].Attempts)
}
