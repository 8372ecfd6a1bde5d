package fanmail_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// mail adds a mail to an agent as ingest does, and returns its message.
func mail(t *testing.T, kit *fanmailtest.Kit, tenant fanmail.TenantID, agent string) fanmail.MessageID {
	t.Helper()
	message, raw := events.NewRandom[events.MessageKind](), events.NewRandom[events.MessageKind]()
	data := `{"message_id":"` + message.String() + `","received_at":"2026-01-01T00:00:00Z","from":[{"address":"ann@example.net"}]}`
	var id fanmail.EventID
	require.NoError(t, pgx.BeginFunc(t.Context(), kit.Pool, func(tx pgx.Tx) (err error) {
		id, err = fanmail.Insert(t.Context(), tx, fanmail.Event{TenantID: tenant, Type: received, AgentID: agent, Data: json.RawMessage(data)})
		if err != nil {
			return err
		}
		_, err = tx.Exec(t.Context(), `WITH r AS (INSERT INTO fanmail.message_raws (id, created_at, raw) VALUES ($2, now(), 'Subject: hi'))
			INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size) VALUES ($1, now(), $3, $4, $5, $2, 11)`,
			message, raw, tenant, agent, id)
		return err
	}))
	return message
}

func TestAProgramSeesRetriesAndMakesDeliveriesToAgents(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx, c, receiver := t.Context(), offline(t, kit), sink.New(t)
	tenant, err := c.CreateTenant(ctx, "acme")
	require.NoError(t, err)
	other, err := c.CreateTenant(ctx, "other")
	require.NoError(t, err)
	a, err := c.CreateAgent(ctx, tenant.ID, "robot@example.com", receiver.URL("/robot"))
	require.NoError(t, err)
	receiver.Script("/robot", sink.FailFirst(2, sink.Answer{Status: http.StatusBadGateway}))
	id := mail(t, kit, tenant.ID, a.Address)

	_, err = c.GetMessageDelivery(ctx, tenant.ID, id)
	require.ErrorIs(t, err, fanmail.ErrNotFound)
	o, err := c.DeliverMessage(ctx, tenant.ID, id)
	require.NoError(t, err)
	require.Equal(t, fanmail.DeliveryOutcome{StatusCode: 502, Error: "answered 502"}, o)
	list, next, err := c.ListAgentDeliveries(ctx, tenant.ID, "ROBOT@example.com", "pending", fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Zero(t, next)
	require.Len(t, list, 1)
	require.Equal(t, 1, list[0].Attempts)
	require.Equal(t, id, list[0].MessageID)
	got, err := c.GetMessageDelivery(ctx, tenant.ID, id)
	require.NoError(t, err)
	require.Equal(t, list[0], got)

	require.NoError(t, c.TickAgents(ctx), "it is not due")
	require.Equal(t, 1, receiver.CountTo("/robot"))
	_, err = c.RetryMessage(ctx, tenant.ID, id)
	require.NoError(t, err)
	require.NoError(t, c.TickAgents(ctx))
	require.Equal(t, 2, receiver.CountTo("/robot"))
	o, err = c.DeliverMessage(ctx, tenant.ID, id)
	require.NoError(t, err)
	require.Equal(t, fanmail.DeliveryOutcome{Success: true, StatusCode: 200}, o)
	_, err = c.RetryMessage(ctx, tenant.ID, id)
	require.ErrorIs(t, err, fanmail.ErrDelivered)
	for _, tenant := range []fanmail.TenantID{other.ID, {}} {
		_, err = c.DeliverMessage(ctx, tenant, id)
		require.ErrorIs(t, err, fanmail.ErrNotFound)
		_, err = c.RetryMessage(ctx, tenant, id)
		require.ErrorIs(t, err, fanmail.ErrNotFound)
		_, _, err = c.ListAgentDeliveries(ctx, tenant, a.Address, "", fanmail.Cursor{}, 10)
		require.ErrorIs(t, err, fanmail.ErrNotFound)
	}
	require.Equal(t, 3, receiver.CountTo("/robot"))
}

func TestAProgramPostsOnceToAnAgentAndToASignedURL(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx, c, receiver := t.Context(), offline(t, kit), sink.New(t)
	agent := fanmail.Agent{WebhookURL: receiver.URL("/agent")}
	sent := fanmail.Payload{
		MessageID: "msg_1", From: "ann@example.net", To: []string{"robot@example.com"}, Recipient: "robot@example.com", RawMessage: []byte("hi"),
		AuthHeaders: map[string]string{"X-E2A-Auth-Verified": "true"}, ReceivedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	require.NoError(t, c.Deliver(ctx, agent, sent))
	post := receiver.PostsTo("/agent")[0]
	require.Equal(t, "true", post.Header.Get("X-E2A-Auth-Verified"))
	var arrived fanmail.Payload
	require.NoError(t, json.Unmarshal(post.Body, &arrived))
	require.Equal(t, sent, arrived)
	receiver.Script("/agent", sink.Status(http.StatusTeapot))
	var refused *fanmail.UndeliveredError
	require.ErrorAs(t, c.Deliver(ctx, agent, sent), &refused)
	require.Equal(t, http.StatusTeapot, refused.StatusCode)
	var field *fanmail.FieldError
	require.ErrorAs(t, c.Deliver(ctx, fanmail.Agent{}, sent), &field)
	require.Equal(t, 2, receiver.CountTo("/agent"))

	// The key of X-E2A-Signature is the whole secret, which need not be base64.
	body := []byte(`{"event":"email.received","id":"evt_x"}`)
	const secret, previous = "whsec_new-secret", "whsec_old!"
	o, err := c.DeliverSigned(ctx, receiver.URL("/signed"), body, secret, previous)
	require.NoError(t, err)
	require.Equal(t, fanmail.DeliveryOutcome{Success: true, StatusCode: 200}, o)
	post = receiver.PostsTo("/signed")[0]
	require.Equal(t, body, post.Body)
	require.Equal(t, "evt_x", post.Header.Get(signature.HeaderID))
	for _, s := range []string{secret, previous} {
		require.NoError(t, signature.Verify(s, post.Header, body, time.Now(), 0))
	}
	_, err = c.DeliverSigned(ctx, receiver.URL("/signed"), []byte("no JSON"), secret, "")
	require.NoError(t, err)
	post = receiver.PostsTo("/signed")[1]
	require.NoError(t, signature.Verify(secret, post.Header, post.Body, time.Now(), 0), "a body without an id gets one")
	require.ErrorIs(t, signature.Verify(previous, post.Header, post.Body, time.Now(), 0), signature.ErrMismatch)
	receiver.Script("/signed", sink.Redirect(http.StatusFound, receiver.URL("/else")))
	o, err = c.DeliverSigned(ctx, receiver.URL("/signed"), body, secret, "")
	require.NoError(t, err)
	require.Equal(t, http.StatusFound, o.StatusCode)
	require.False(t, o.Success)
	require.Zero(t, receiver.CountTo("/else"))
	for _, call := range [][2]string{{"ftp://example.com", secret}, {receiver.URL("/signed"), ""}, {receiver.URL("/signed"), "whpk_x"}} {
		_, err = c.DeliverSigned(ctx, call[0], body, call[1], "")
		require.ErrorAs(t, err, &field, call)
		require.NotContains(t, err.Error(), secret)
	}
	closed, err := fanmail.New(kit.Pool, nil, fanmail.Config{})
	require.NoError(t, err)
	_, err = closed.DeliverSigned(ctx, receiver.URL("/signed"), body, secret, "")
	require.ErrorAs(t, err, &field, "neither plain HTTP nor loopback")
}

func TestEachWorkerHasATickOfItsOwn(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx, c, receiver := t.Context(), offline(t, kit), sink.New(t)
	tenant, err := c.CreateTenant(ctx, "acme")
	require.NoError(t, err)
	w, err := c.CreateWebhook(ctx, tenant.ID, fanmail.Webhook{URL: receiver.URL("/in"), Events: []fanmail.EventType{received}})
	require.NoError(t, err)
	_, err = c.TestWebhook(ctx, tenant.ID, w.ID)
	require.NoError(t, err)
	add(t, kit, tenant.ID, `{}`)
	require.NoError(t, c.TickDeliveries(ctx))
	require.Equal(t, 1, receiver.CountTo("/in"), "the test; nothing is fanned out")
	delivered, _, err := c.ListDeliveries(ctx, tenant.ID, w.ID, fanmail.DeliveryFilter{Status: "delivered"}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, delivered, 1)

	w, err = c.CreateWebhook(ctx, tenant.ID, fanmail.Webhook{URL: receiver.URL("/dead"), Events: []fanmail.EventType{received}})
	require.NoError(t, err)
	_, _, err = c.RotateWebhookSecret(ctx, tenant.ID, w.ID, "")
	require.NoError(t, err)
	_, err = kit.Pool.Exec(ctx, `UPDATE fanmail.webhooks SET previous_until = ARRAY[now()], enabled_at = now() - interval '1 day' WHERE id = $1`, w.ID)
	require.NoError(t, err)
	_, err = kit.Pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq,
			max_attempts, attempts, event_type, status, finished_at, last_attempt_at)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() + interval '30 days', i, 8, 8, 'email.received', 'failed', now(), now()
		FROM generate_series(1, 10) AS i`, w.ID, tenant.ID)
	require.NoError(t, err)
	require.NoError(t, c.TickAutoDisable(ctx))
	after, err := c.GetWebhook(ctx, tenant.ID, w.ID)
	require.NoError(t, err)
	require.NotNil(t, after.AutoDisabledAt, "its deliveries only failed")
	var previous int
	require.NoError(t, kit.Pool.QueryRow(ctx, `SELECT cardinality(previous_secrets) FROM fanmail.webhooks WHERE id = $1`, w.ID).Scan(&previous))
	require.Zero(t, previous)
}
