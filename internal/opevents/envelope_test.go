package opevents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/operational"
	"github.com/fanmail-dev/fanmail/subscribers"
)

var update = flag.Bool("update", false, "write the golden envelopes anew")

// fits decodes an envelope whose data must have the fields of the Go type and no others. A test beside the schemas
// validates the golden envelopes, which these equal.
func fits(t *testing.T, envelope []byte, data any) events.Envelope {
	t.Helper()
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(env.Data))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(data), "%s", env.Data)
	return env
}

// golden compares an envelope's bytes with those that receivers were sent,
// but for its id and time, which are its own.
func golden(t *testing.T, name string, env events.Envelope, envelope []byte) {
	t.Helper()
	at := time.Date(2026, 1, 2, 14, 4, 6, 789000000, time.UTC)
	got := strings.NewReplacer(
		env.ID.String(), "evt_101112131415161718191a1b1c1d1e1f", env.CreatedAt.Format(events.TimeLayout), at.Format(events.TimeLayout),
	).Replace(string(envelope))
	file := filepath.Join("..", "..", "events", "testdata", "envelopes", name+".json")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got, name)
}

// What the statements of package subscribers write is what events/operational
// and the schemas promise, field for field.
func TestTheEnvelopesOfOperationalEvents(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := open(t)
	tenant, err := events.Parse[events.TenantKind]("ten_000102030405060708090a0b0c0d0e0f")
	require.NoError(t, err)
	hook, err := events.Parse[events.WebhookKind]("wh_000102030405060708090a0b0c0d0e0f")
	require.NoError(t, err)
	about := operational.About{TenantID: tenant.String(), WebhookID: hook.String(), WebhookURL: "https://hooks.example.com/in"}
	o.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	o.exec(`UPDATE fanmail.webhooks SET id = $1 WHERE id = $2`, hook, o.webhook(tenant, events.EmailReceived))
	o.webhook(tenant, events.Operational()...)
	one := func() []byte {
		t.Helper()
		sent := o.sent(tenant)
		require.Len(t, sent, 1)
		return sent[0]
	}

	for name, message := range map[string]string{"delivery.exhausted-mail": "msg_000102030405060708090a0b0c0d0e0f", "delivery.exhausted-bare": ""} {
		out := o.last(tenant, hook, events.EmailReceived, "live")
		id, err := events.Parse[events.DeliveryKind]("whd_000102030405060708090a0b0c0d0e0f")
		require.NoError(t, err)
		o.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET id = $2, event_id = $2, message_id = nullif($3, '') WHERE id = $1`, out.ID, id, message)
		out.ID = id
		if message == "" {
			out.StatusCode, out.Error = 0, "no complete answer within 15 s"
		}
		o.write(&subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{out}})
		envelope := one()
		var data operational.DeliveryExhausted
		golden(t, name, fits(t, envelope, &data), envelope)
		require.Equal(t, operational.DeliveryExhausted{
			About: about, DeliveryID: id.String(), EventID: "evt_000102030405060708090a0b0c0d0e0f", EventType: "email.received", MessageID: message,
			Attempts: 8, LastStatusCode: out.StatusCode, LastError: out.Error,
		}, data)
		o.exec(`DELETE FROM fanmail.webhook_subscriber_deliveries`)
	}

	o.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days' WHERE id = $1`, hook)
	o.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, attempts, max_attempts, event_type, last_error, last_attempt_at)
		VALUES (gen_random_uuid(), now() - interval '61 minutes', $1, $2, gen_random_uuid(), now(), now(), now() + interval '1 day', 1, 4, 8, 'email.received', 'connection refused', now())`, hook, tenant)
	var failing []subscribers.Failing
	require.NoError(t, pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		failing, err = subscribers.MarkFailing(ctx, tx)
		return err
	}))
	require.Len(t, failing, 1)
	failed := one()
	var fails operational.WebhookFailing
	env := fits(t, failed, &fails)
	require.Equal(t, operational.WebhookFailing{About: about, FailingSince: failing[0].Since, LastError: "connection refused"}, fails)
	golden(t, "webhook.failing", env, bytes.ReplaceAll(failed, []byte(fails.FailingSince.Format(events.TimeLayout)), []byte("2026-01-02T13:04:06.789000Z")))
	o.exec(`DELETE FROM fanmail.webhook_subscriber_deliveries`)
	o.exec(`UPDATE fanmail.webhooks SET recovering = false`)

	o.write(&subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
	envelope := one()
	var disabled operational.WebhookDisabled
	golden(t, "webhook.disabled-gone", fits(t, envelope, &disabled), envelope)
	require.Equal(t, operational.WebhookDisabled{About: about, Reason: "the endpoint answered 410 Gone"}, disabled)

	o.exec(`UPDATE fanmail.webhooks SET auto_disabled_at = auto_disabled_at - interval '6 minutes' WHERE id = $1`, hook)
	_, err = o.store.Update(ctx, tenant, hook, subscribers.Patch{Enabled: new(true)})
	require.NoError(t, err)
	o.write(&subscribers.OutcomeBatch{Touch: []events.WebhookID{hook}})
	envelope = one()
	var recovered operational.WebhookRecovered
	golden(t, "webhook.recovered", fits(t, envelope, &recovered), envelope)
	require.Equal(t, operational.WebhookRecovered{About: about}, recovered)

	o.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days', last_delivered_at = NULL WHERE id = $1`, hook)
	o.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, attempts, max_attempts, event_type, status, last_attempt_at, finished_at)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() + interval '1 day', n, 8, 8, 'email.received', 'failed', now(), now()
		FROM generate_series(1, 10) AS n`, hook, tenant)
	require.NoError(t, pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		_, err := subscribers.DisableFailing(ctx, tx)
		return err
	}))
	envelope = one()
	disabled = operational.WebhookDisabled{}
	golden(t, "webhook.disabled-failing", fits(t, envelope, &disabled), envelope)
	require.Equal(t, about, disabled.About)
	require.Contains(t, disabled.Reason, "72 hours")
}
