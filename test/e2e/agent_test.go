package e2e_test

import (
	"context"
	"encoding/json"
	"net/smtp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	own "github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestAnAgentsOwnWebhookOutlivesItsDispatcher sends a mail to an agent whose own webhook hangs, as
// does one of the tenant's webhooks. Neither holds up the tenant's other webhook. The dispatcher is
// killed during the POST, and the next one sends the same payload.
func TestAnAgentsOwnWebhookOutlivesItsDispatcher(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r := newRig(ctx, t)
	receiver := sink.New(t)
	operator := r.operatorKey(ctx)
	var tenant struct{ ID string }
	r.call(ctx, operator, "POST", "/v1/tenants", map[string]any{"name": "agents"}, &tenant)
	var key struct{ Secret string }
	r.call(ctx, operator, "POST", "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &key)
	const address, plain = "robot@agents.example.com", "plain@agents.example.com"
	r.call(ctx, operator, "POST", "/v1/domains", map[string]any{"tenant_id": tenant.ID, "domain": "*"}, nil)
	for _, a := range []string{address, plain} {
		r.call(ctx, key.Secret, "POST", "/v1/agents", map[string]any{"address": a}, nil)
	}
	r.call(ctx, key.Secret, "PATCH", "/v1/agents/"+address, map[string]any{"webhook_url": receiver.URL("/own")}, nil)
	var hook struct {
		SigningSecret string `json:"signing_secret"`
	}
	r.call(ctx, key.Secret, "POST", "/v1/webhooks", map[string]any{"url": receiver.URL("/tenant"), "events": []string{"email.received"}}, &hook)
	receiver.Secret("/tenant", hook.SigningSecret)

	r.call(ctx, key.Secret, "POST", "/v1/webhooks", map[string]any{"url": receiver.URL("/stuck"), "events": []string{"email.received"}}, nil)

	hold := make(chan struct{})
	defer close(hold)
	receiver.Script("/own", sink.Hang(hold))
	receiver.Script("/stuck", sink.Hang(hold))
	send := func(id, to string) (mail string) {
		t.Helper()
		mail = "From: Ann <ann@example.net>\r\nTo: " + to + "\r\nReply-To: desk@example.net\r\nSubject: Hello\r\nMessage-ID: <" + id + "@example.net>\r\n\r\nHello\r\n"
		require.NoError(t, smtp.SendMail(r.smtp, nil, "ann@example.net", []string{to}, []byte(mail)))
		return mail
	}
	hangs := func(path string) {
		t.Helper()
		now, _ := receiver.InFlight(path)
		require.Equal(t, receiver.CountTo(path), now, "%s hangs still", path)
	}
	send("first", plain)
	require.NoError(t, receiver.WaitForPath(ctx, "/stuck", 1))
	mail := send("own", address)
	require.NoError(t, receiver.WaitForPath(ctx, "/own", 1))
	hangs("/stuck")
	send("last", plain)
	require.NoError(t, receiver.WaitForPath(ctx, "/tenant", 3))
	hangs("/own")
	for _, p := range receiver.PostsTo("/tenant") {
		require.NoError(t, p.VerifyErr)
	}

	r.crash(ctx, "dispatcher", func() {
		require.Equal(t, 1, r.count(ctx, `SELECT count(*) FROM fanmail.webhook_deliveries WHERE status = 'pending' AND attempts = 0 AND next_retry_at > now()`), "it is leased still")
		receiver.Script("/own", nil)
		// End the lease now instead of in five minutes.
		_, err := r.pool.Exec(ctx, `UPDATE fanmail.webhook_deliveries SET next_retry_at = now()`)
		require.NoError(t, err)
	})
	require.NoError(t, receiver.WaitForPath(ctx, "/own", 2))
	require.Eventually(t, func() bool {
		return r.count(ctx, `SELECT count(*) FROM fanmail.webhook_deliveries WHERE status = 'delivered' AND attempts = 1`) == 1
	}, time.Minute, 20*time.Millisecond)
	posts := receiver.PostsTo("/own")
	require.Equal(t, string(posts[0].Body), string(posts[1].Body))
	var p own.Payload
	require.NoError(t, json.Unmarshal(posts[1].Body, &p))
	require.Equal(t, mail, string(p.RawMessage))
	require.Equal(t, address, p.Recipient)
	require.Equal(t, []string{"desk@example.net"}, p.ReplyTo)
	r.stop(ctx)
}
