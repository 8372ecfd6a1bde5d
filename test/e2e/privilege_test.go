package e2e_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestEachProcessHasTheRightsItNeedsAndNoOthers sends a mail and an event of the intake subject
// through processes with the least rights, and calls the whole API.
func TestEachProcessHasTheRightsItNeedsAndNoOthers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the test of rights took too long"))
	t.Cleanup(cancel)
	g, s := newGuarded(ctx, t), sink.New(t)
	t.Cleanup(func() { require.Empty(t, g.refusals(), "no process asked for more than it may") })

	operator := g.operatorKey(ctx)
	var tenant, key, webhook struct{ ID, Secret string }
	g.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "guarded"}, &tenant)
	g.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &key)
	g.call(ctx, operator, http.MethodPost, "/v1/domains", map[string]any{"tenant_id": tenant.ID, "domain": "*"}, nil)
	g.call(ctx, key.Secret, http.MethodPost, "/v1/agents", map[string]any{"address": "robot@example.com", "webhook_url": s.URL("/agent")}, nil)
	// The first answer fails, so that the log of attempts is written too.
	s.Script("/ok", sink.FailAttempts(1, sink.Answer{Status: 503, Header: http.Header{"Retry-After": {"1"}}}))
	g.call(ctx, key.Secret, http.MethodPost, "/v1/webhooks", map[string]any{
		"url": s.URL("/ok"), "events": []string{"email.received", "email.sent"}, "ordering": "strict",
	}, &webhook)

	mail := "From: a@example.net\r\nTo: robot@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nHello.\r\n"
	client, err := smtp.Dial(g.smtp)
	require.NoError(t, err)
	require.NoError(t, client.SendMail("a@example.net", []string{"robot@example.com"}, strings.NewReader(mail)))
	require.NoError(t, client.Mail("a@example.net", nil))
	require.NoError(t, client.Rcpt("postmaster@example.com", nil), "ingest knows which domains receive")
	require.NoError(t, client.Quit())
	g.retryNow(ctx)
	require.NoError(t, s.WaitForPath(ctx, "/ok", 2), "the mail arrives at the second attempt")
	require.NoError(t, s.WaitForPath(ctx, "/agent", 1), "and at the agent's own URL")

	g.call(ctx, key.Secret, http.MethodPost, "/v1/event-types", map[string]any{"name": "order.created", "schema": map[string]any{"required": []string{"id"}}}, nil)
	producer := g.tenantUser(ctx, tenant.ID)
	g.cli(ctx, "streams", "--intake-tenants", tenant.ID)
	g.intake(ctx, tenant.ID, producer)
	g.retryNow(ctx)
	require.NoError(t, s.WaitForPath(ctx, "/ok", 4), "so does an event from the broker")
	g.gone(ctx, key.Secret, s)
	s.Script("/ok", sink.Status(http.StatusOK))
	g.callAll(ctx, operator, key.Secret, webhook.ID)
	g.erase(ctx, key.Secret)
	g.eraseTenant(ctx, operator)
	g.cli(ctx, "maintain")
	g.cli(ctx, "streams")

	g.tail(ctx, key.Secret)

	// If the broker has lost everything, the operator's process creates the streams again.
	g.crash(ctx, "nats", func() { require.NoError(t, os.RemoveAll(g.natsDir)) })
	g.cli(ctx, "streams", "--intake-tenants", tenant.ID)
	g.call(ctx, key.Secret, http.MethodPost, "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{}}, nil)
	g.call(ctx, key.Secret, http.MethodDelete, "/v1/webhooks/"+webhook.ID, nil, nil)
	g.intake(ctx, tenant.ID, producer)
	require.Eventually(t, func() bool { return g.count(ctx, `SELECT count(*) FROM fanmail.outbox`) == 0 }, time.Minute, 50*time.Millisecond)
	g.deniedByPostgres(ctx)
	g.mayTellOfWebhooksAlone(ctx, tenant.ID)
	g.deniedByNATS(ctx, map[string]string{"intake": producer})
	g.answersAreNoEvents(ctx, tenant.ID)
	g.storedContentIsNoEvent(ctx, tenant.ID, key.Secret, s)
	g.stop(ctx)
}

// erase erases the mail: the owner removes the rows, and a dispatcher the messages of the stream.
func (g *guarded) erase(ctx context.Context, key string) {
	g.t.Helper()
	var e struct {
		ID, State string
		Removed   map[string]int
	}
	g.call(ctx, key, http.MethodPost, "/v1/erasures", map[string]any{"address": "A@example.net"}, &e)
	require.Eventually(g.t, func() bool {
		_, err := g.pool.Exec(ctx, `UPDATE fanmail.erasures SET due_at = now()`) // it does not wait between its passes
		require.NoError(g.t, err)
		g.cli(ctx, "maintain")
		g.call(ctx, key, http.MethodGet, "/v1/erasures/"+e.ID, nil, &e)
		return e.State == "completed"
	}, 3*time.Minute, 500*time.Millisecond)
	require.Positive(g.t, e.Removed["stream_messages"])
	require.Positive(g.t, e.Removed["raw_mails"])
}

// eraseTenant deletes a tenant with an event, and erases it.
func (g *guarded) eraseTenant(ctx context.Context, operator string) {
	g.t.Helper()
	var tenant, key struct{ ID, Secret string }
	g.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "gone"}, &tenant)
	g.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &key)
	g.call(ctx, key.Secret, http.MethodPost, "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{}}, nil)
	path := "/v1/tenants/" + tenant.ID
	g.call(ctx, operator, http.MethodDelete, path, nil, nil)
	g.call(ctx, operator, http.MethodPost, path+"/restore", nil, nil)
	var e struct{ ID, State string }
	g.call(ctx, operator, http.MethodDelete, path, nil, &e)
	require.Eventually(g.t, func() bool {
		_, err := g.pool.Exec(ctx, `UPDATE fanmail.erasures SET due_at = now() WHERE finished_at IS NULL`)
		require.NoError(g.t, err)
		g.cli(ctx, "maintain")
		g.call(ctx, operator, http.MethodGet, "/v1/erasures/"+e.ID, nil, &e)
		return e.State == "completed"
	}, 3*time.Minute, 500*time.Millisecond)
	require.Equal(g.t, http.StatusNotFound, g.status(ctx, operator, http.MethodGet, path, ""))
}

// tail reads an event from the stream of a tail that begins before it.
func (g *guarded) tail(ctx context.Context, key string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.api+"/v1/events/tail?types=email.bounced", nil)
	require.NoError(g.t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(g.t, http.StatusOK, resp.StatusCode)
	for _, typ := range []string{"email.sent", "email.bounced"} {
		g.call(ctx, key, http.MethodPost, "/v1/events", map[string]any{"type": typ, "data": map[string]any{}}, nil)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			require.Equal(g.t, "email.bounced", event)
			return
		}
	}
	require.NoError(g.t, lines.Err())
	require.Fail(g.t, "the tail ended without the event")
}

// intake publishes one valid event, one of an own type, and one that is refused.
func (g *guarded) intake(ctx context.Context, tenant, producer string) {
	g.t.Helper()
	nc, err := nats.Connect(producer, nats.CustomInboxPrefix("_INBOX_"+tenant))
	require.NoError(g.t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(g.t, err)
	dead, err := nats.Connect(g.nats("operator"))
	require.NoError(g.t, err)
	defer dead.Close()
	deadLetters, err := dead.SubscribeSync("mail.dead.>")
	require.NoError(g.t, err)
	require.NoError(g.t, dead.Flush())
	own := func() int {
		return g.count(ctx, `SELECT count(*)::int FROM fanmail.events WHERE type = 'order.created'`)
	}
	before := own()
	for _, body := range []string{`{"type":"email.sent","data":{}}`, `{"type":"order.created","data":{"id":1}}`, `{"type":"no.such.type"}`} {
		require.Eventually(g.t, func() bool {
			_, err := js.Publish(ctx, "mail.intake."+tenant, []byte(body), jetstream.WithMsgID(nats.NewInbox()))
			return err == nil
		}, time.Minute, 50*time.Millisecond, "the intake stream is there, or is made again")
	}
	_, err = deadLetters.NextMsgWithContext(ctx)
	require.NoError(g.t, err, "the malformed one is a dead letter")
	require.Eventually(g.t, func() bool { return own() > before }, time.Minute, 50*time.Millisecond, "ingest reads own types and their schemas")
}

// gone lets an endpoint end a delivery and disable its webhook, and retries the delivery.
func (g *guarded) gone(ctx context.Context, key string, s *sink.Sink) {
	g.t.Helper()
	s.Script("/gone", sink.Status(http.StatusGone))
	var watcher, webhook, retried struct{ ID string }
	g.call(ctx, key, http.MethodPost, "/v1/webhooks", map[string]any{"url": s.URL("/watcher"), "events": []string{"webhook.disabled"}}, &watcher)
	g.call(ctx, key, http.MethodPost, "/v1/webhooks", map[string]any{"url": s.URL("/gone"), "events": []string{"email.bounced"}}, &webhook)
	g.call(ctx, key, http.MethodPost, "/v1/events", map[string]any{"type": "email.bounced", "data": map[string]any{}}, nil)
	require.NoError(g.t, s.WaitForPath(ctx, "/gone", 1))
	require.NoError(g.t, s.WaitForPath(ctx, "/watcher", 1), "an operational event tells of it")
	var failed struct{ Data []struct{ ID string } }
	require.Eventually(g.t, func() bool {
		g.call(ctx, key, http.MethodGet, "/v1/webhooks/"+webhook.ID+"/deliveries?status=failed", nil, &failed)
		return len(failed.Data) == 1
	}, time.Minute, 50*time.Millisecond)
	g.call(ctx, key, http.MethodPost, "/v1/deliveries/"+failed.Data[0].ID+"/retry", nil, &retried)
	require.Equal(g.t, failed.Data[0].ID, retried.ID)
}

// callAll reads everything in the API's own description, with ids that exist, and makes each change.
func (g *guarded) callAll(ctx context.Context, operator, key, webhook string) {
	g.t.Helper()
	var list struct {
		Data []struct {
			ID        string
			MessageID string `json:"message_id"`
		}
	}
	g.call(ctx, key, http.MethodGet, "/v1/webhooks/"+webhook+"/deliveries", nil, &list)
	delivery := list.Data[0].ID
	g.call(ctx, key, http.MethodGet, "/v1/events?type=email.received", nil, &list)
	event, message := list.Data[0].ID, list.Data[0].MessageID
	ids := map[string]string{
		"agents": "robot@example.com", "webhooks": webhook, "deliveries": delivery, "events": event, "messages": message,
	}
	post := func(key, path string, in any) (out struct{ ID string }) {
		g.call(ctx, key, http.MethodPost, path, in, &out)
		return out
	}
	post(key, "/v1/webhooks/"+webhook+"/rotate-secret", nil)
	post(key, "/v1/webhooks/"+webhook+"/test", nil)
	post(key, "/v1/events/"+event+"/redeliver", map[string]any{"webhook_id": webhook})
	g.call(ctx, key, http.MethodPatch, "/v1/webhooks/"+webhook, map[string]any{"description": "changed"}, nil)
	g.call(ctx, key, http.MethodPatch, "/v1/agents/robot@example.com", map[string]any{"webhook_url": nil}, nil)
	g.call(ctx, key, http.MethodPost, "/v1/domains", map[string]any{"domain": "unused.example"}, nil)
	g.call(ctx, key, http.MethodGet, "/v1/domains/unused.example", nil, nil)
	g.call(ctx, key, http.MethodDelete, "/v1/domains/unused.example", nil, nil)
	post(key, "/v1/agents", map[string]any{"address": "gone@example.com"})
	g.call(ctx, key, http.MethodDelete, "/v1/agents/gone@example.com", nil, nil)
	spare := post(key, "/v1/keys", map[string]any{})
	g.call(ctx, key, http.MethodDelete, "/v1/keys/"+spare.ID, nil, nil)
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for _, mode := range []string{"all", "missed"} {
		replay := post(key, "/v1/replays", map[string]any{"since": since, "webhook_id": webhook, "mode": mode})
		ids["replays"] = replay.ID
		require.Eventually(g.t, func() bool {
			var now struct{ State string }
			g.call(ctx, key, http.MethodGet, "/v1/replays/"+replay.ID, nil, &now)
			return now.State == "completed"
		}, 3*time.Minute, 50*time.Millisecond)
	}
	cancelled := post(key, "/v1/replays", map[string]any{"since": since, "mode": "all"})
	g.call(ctx, key, http.MethodDelete, "/v1/replays/"+cancelled.ID, nil, nil)
	idempotent := "{\"type\":\"email.sent\",\"data\":{}}"
	require.Equal(g.t, http.StatusAccepted, g.status(ctx, key, http.MethodPost, "/v1/events", idempotent))

	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	g.call(ctx, key, http.MethodGet, "/openapi.json", nil, &doc)
	read := 0
	for path, operations := range doc.Paths {
		if _, ok := operations["get"]; !ok || !strings.HasPrefix(path, "/v1/") {
			continue
		}
		parts := strings.Split(path, "/")
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				parts[i] = ids[parts[2]]
			}
		}
		for _, k := range []string{operator, key} {
			require.NotEqual(g.t, http.StatusInternalServerError, g.status(ctx, k, http.MethodGet, strings.Join(parts, "/"), ""), path)
		}
		read++
	}
	require.Greater(g.t, read, 10)
}

// deniedByPostgres tries what each role must not do.
func (g *guarded) deniedByPostgres(ctx context.Context) {
	g.t.Helper()
	var day string
	require.NoError(g.t, g.pool.QueryRow(ctx, `SELECT 'fanmail.' || max(c.relname) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'fanmail.events'::regclass`).Scan(&day))
	for role, statements := range map[string][]string{
		"publisher": {
			`SELECT signing_secret FROM fanmail.webhooks`, `SELECT raw FROM fanmail.message_raws`, `SELECT secret_hash FROM fanmail.api_keys`,
			`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered'`, `DELETE FROM fanmail.outbox`, `UPDATE fanmail.outbox SET event_id = event_id`,
			`DELETE FROM fanmail.events`, `SELECT id FROM ` + day,
		},
		"dispatcher": {
			`DELETE FROM fanmail.message_raws`, `SELECT secret_hash FROM fanmail.api_keys`, `UPDATE fanmail.webhooks SET url = 'https://example.com'`,
			`UPDATE fanmail.events SET envelope = ''`, `DELETE FROM fanmail.webhook_subscriber_deliveries`, `DROP TABLE ` + day, `DELETE FROM fanmail.tenants`,
			`SELECT fanmail.make_partitions(current_date, 1)`, `SELECT nextval('fanmail.outbox_seq')`,
			`INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
				SELECT gen_random_uuid(), now(), id, 'email.received', 1, '' FROM fanmail.tenants`,
			`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) SELECT id, 1, gen_random_uuid(), now() FROM fanmail.tenants`,
			`INSERT INTO fanmail.event_keys (bucket, event_id) VALUES (fanmail.bucket(now()), gen_random_uuid())`,
		},
		"ingest": {
			`SELECT signing_secret FROM fanmail.webhooks`, `SELECT secret_hash FROM fanmail.api_keys`, `SELECT id FROM fanmail.webhook_subscriber_deliveries`,
			`DELETE FROM fanmail.message_raws`, `UPDATE fanmail.events SET envelope = ''`,
			`SELECT * FROM fanmail.insert_operational_events('{}', '{}', '{}', '{}', '{}')`,
		},
		"api": {
			`DELETE FROM fanmail.events`, `UPDATE fanmail.events SET envelope = ''`, `DELETE FROM fanmail.outbox`, `UPDATE fanmail.messages SET tenant_id = tenant_id`,
			`UPDATE fanmail.partition_owners SET epoch = epoch`, `TRUNCATE fanmail.idempotency_keys`, `CREATE TABLE mine (id int)`,
		},
	} {
		conn, err := pgx.Connect(ctx, g.url("fanmail_"+role))
		require.NoError(g.t, err)
		for _, sql := range statements {
			_, err := conn.Exec(ctx, sql)
			var refused *pgconn.PgError
			require.ErrorAs(g.t, err, &refused, "%s may not: %s", role, sql)
			require.Equal(g.t, "42501", refused.Code, "%s may not: %s: %v", role, sql, err)
		}
		require.NoError(g.t, conn.Close(ctx))
	}
	g.kedaMayAsk(ctx)
	// A new table must say who may use it. The owner alone imports.
	rows, err := g.pool.Query(ctx, `SELECT c.relname FROM pg_class AS c
		WHERE c.relnamespace = 'fanmail'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN ('imports', 'imported_rows') AND NOT EXISTS (
			SELECT 1 FROM pg_roles AS r WHERE r.rolname IN ('fanmail_publisher', 'fanmail_dispatcher', 'fanmail_ingest', 'fanmail_api')
				AND (has_table_privilege(r.oid, c.oid, 'SELECT') OR has_any_column_privilege(r.oid, c.oid, 'SELECT')))`)
	require.NoError(g.t, err)
	nobodys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(g.t, err)
	require.Empty(g.t, nobodys, "deploy/postgres/grants.sql says nothing about these tables")
}

// kedaMayAsk runs the chart's query for the scaler, as the role that the chart gives it, over an empty
// outbox and over one whose row is 40 s old.
func (g *guarded) kedaMayAsk(ctx context.Context) {
	g.t.Helper()
	trigger, err := os.ReadFile("../../deploy/chart/templates/keda.yaml")
	require.NoError(g.t, err)
	query := regexp.MustCompile(`query: >-\n((?: {10}.+\n)+)`).FindSubmatch(trigger)
	require.NotNil(g.t, query, "the trigger asks Postgres")
	conn, err := pgx.Connect(ctx, g.url("fanmail_dispatcher"))
	require.NoError(g.t, err)
	var seconds float64
	require.NoError(g.t, conn.QueryRow(ctx, string(query[1])).Scan(&seconds))
	require.Zero(g.t, seconds)
	require.NoError(g.t, conn.Close(ctx))
	tx, err := g.pool.Begin(ctx) // no other process may see the row
	require.NoError(g.t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = tx.Exec(ctx, `INSERT INTO fanmail.outbox (event_id, tenant_id, created_at, leased_until)
		VALUES (gen_random_uuid(), gen_random_uuid(), now() - interval '40 s', now())`)
	require.NoError(g.t, err)
	require.NoError(g.t, tx.QueryRow(ctx, string(query[1])).Scan(&seconds))
	require.InDelta(g.t, 40, seconds, 0.1)
}

// deniedByNATS tries what each user must not do.
func (g *guarded) deniedByNATS(ctx context.Context, urls map[string]string) {
	g.t.Helper()
	// Each of these makes the server publish to a subject of the request's choice.
	var creates []string
	for _, name := range []string{"MAIL_EVENTS", "DELIVERIES", "MAIL_INTAKE", "MAIL_DEAD", "MAIL_RAW", "OBJ_mail-raw", "KV_mail-recipients", "OTHER"} {
		creates = append(creates, "$JS.API.STREAM.CREATE."+name, "$JS.API.STREAM.UPDATE."+name, "$JS.API.STREAM.RESTORE."+name,
			"$JS.API.CONSUMER.CREATE."+name, "$JS.API.CONSUMER.CREATE."+name+".mine", "$JS.API.CONSUMER.CREATE."+name+".fanout",
			"$JS.API.CONSUMER.CREATE."+name+".mine.mail.events.x.email.sent", "$JS.API.CONSUMER.DURABLE.CREATE."+name+".mine")
	}
	for user, tries := range map[string]struct{ publish, subscribe []string }{
		"publisher": {
			[]string{"fanmail.deliveries.0.x", "mail.intake.x", "$JS.API.STREAM.DELETE.MAIL_EVENTS", "$JS.API.STREAM.MSG.GET.MAIL_EVENTS"},
			[]string{"mail.events.>", "_INBOX_api.>", "fanmail.deliveries.*.*"},
		},
		"dispatcher": {
			[]string{"mail.events.x.email.sent", "mail.intake.x", "$JS.API.STREAM.PURGE.DELIVERIES", "$JS.API.CONSUMER.DELETE.MAIL_EVENTS.fanout"},
			[]string{"mail.events.>", "mail.intake.*"},
		},
		"ingest": {
			[]string{"mail.events.x.email.sent", "fanmail.deliveries.0.x", "$JS.API.STREAM.DELETE.MAIL_INTAKE", "$JS.API.DIRECT.GET.OBJ_mail-raw", "$JS.API.DIRECT.GET.OBJ_mail-raw.$O.mail-raw.C.x"},
			[]string{"mail.events.>", "mail.intake.*", "_INBOX_publisher.>"},
		},
		"api": {
			[]string{"mail.events.x.email.sent", "mail.intake.x", "fanmail.deliveries.0.x", "$JS.API.STREAM.UPDATE.MAIL_EVENTS", "$JS.API.CONSUMER.MSG.NEXT.MAIL_EVENTS.fanout"},
			[]string{"mail.events.>", "fanmail.deliveries.*.*"},
		},
		"edge": {
			[]string{
				"mail.events.x.email.sent", "mail.intake.x", "fanmail.deliveries.0.x", "$KV.mail-recipients.x", "$JS.API.STREAM.INFO.OBJ_mail-raw", "$JS.API.STREAM.MSG.GET.OBJ_mail-raw",
				"$JS.API.DIRECT.GET.OBJ_mail-raw", "$JS.API.DIRECT.GET.OBJ_mail-raw.$O.mail-raw.C.x", "$JS.API.STREAM.PURGE.OBJ_mail-raw",
			},
			[]string{"mail.events.>", "mail.intake.*", "mail.raw.*"},
		},
		"intake": {
			[]string{"mail.intake.x", "mail.events.x.email.sent", "$JS.API.STREAM.INFO.MAIL_INTAKE"},
			[]string{"mail.events.>", "mail.intake.*", "fanmail.>"},
		},
	} {
		refused := make(chan error, 1)
		url := cmp.Or(urls[user], g.nats(user))
		nc, err := nats.Connect(url, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		require.NoError(g.t, err)
		expect := func(what, subject string) {
			select {
			case err := <-refused:
				require.ErrorIs(g.t, err, nats.ErrPermissionViolation, "%s %s", what, subject)
			case <-ctx.Done():
				require.Fail(g.t, "not refused", "%s may %s %s", user, what, subject)
			}
		}
		for _, subject := range slices.Concat(tries.publish, creates) {
			require.NoError(g.t, nc.Publish(subject, nil))
			expect("publish to", subject)
		}
		for _, subject := range tries.subscribe {
			_, err := nc.SubscribeSync(subject)
			require.NoError(g.t, err)
			expect("subscribe to", subject)
		}
		nc.Close()
	}
	anybody, err := nats.Connect("nats://" + g.broker)
	if err == nil {
		anybody.Close()
	}
	require.ErrorIs(g.t, err, nats.ErrAuthorization)
}

// mayTellOfWebhooksAlone calls the function that inserts operational events as the dispatcher: about a webhook of the
// tenant, and about everything else.
func (g *guarded) mayTellOfWebhooksAlone(ctx context.Context, tenant string) {
	g.t.Helper()
	conn, err := pgx.Connect(ctx, g.url("fanmail_dispatcher"))
	require.NoError(g.t, err)
	defer func() { _ = conn.Close(ctx) }()
	plain := func(id string) string { return id[strings.Index(id, "_")+1:] }
	var webhook string
	require.NoError(g.t, g.pool.QueryRow(ctx, `SELECT id::text FROM fanmail.webhooks WHERE tenant_id = $1::uuid LIMIT 1`, plain(tenant)).Scan(&webhook))
	webhook = "wh_" + strings.ReplaceAll(webhook, "-", "")
	other := "ten_" + strings.Repeat("0b", 16)
	for name, try := range map[string]struct {
		receiver, typ, encoded, owner, webhook string
		want                                   int
	}{
		"its own":            {tenant, "webhook.disabled", "webhook.disabled", tenant, webhook, 1},
		"another's":          {other, "webhook.disabled", "webhook.disabled", tenant, webhook, 0},
		"a false owner":      {other, "webhook.disabled", "webhook.disabled", other, webhook, 0},
		"mail":               {tenant, "email.received", "email.received", tenant, webhook, 0},
		"mail in disguise":   {tenant, "webhook.disabled", "email.received", tenant, webhook, 0},
		"no webhook":         {tenant, "webhook.disabled", "webhook.disabled", tenant, "wh_" + strings.Repeat("0c", 16), 0},
		"not even a webhook": {tenant, "webhook.disabled", "webhook.disabled", tenant, "x", 0},
	} {
		tx, err := conn.Begin(ctx)
		require.NoError(g.t, err)
		id := strings.Repeat("0d", 16)
		var n int
		err = tx.QueryRow(ctx, `SELECT count(*)::int FROM fanmail.insert_operational_events($1::text[]::uuid[], $2::text[]::uuid[], $3, $4, $5)`,
			[]string{id}, []string{plain(try.receiver)}, []string{try.typ},
			[][]byte{[]byte(`{"type":"` + try.encoded + `","id":"evt_` + id + `","created_at":"`)},
			[][]byte{[]byte(`","data":{"tenant_id":"` + try.owner + `","webhook_id":"` + try.webhook + `"}}`)}).Scan(&n)
		require.NoError(g.t, err, name)
		require.Equal(g.t, try.want, n, name)
		require.NoError(g.t, tx.Rollback(ctx))
	}
}

// answersAreNoEvents sends requests whose answers go to subjects that the users may not publish to. The server checks no
// permission for a reply, so what hears there must take no answer for an event.
func (g *guarded) answersAreNoEvents(ctx context.Context, tenant string) {
	g.t.Helper()
	total := `SELECT count(*) FROM fanmail.events`
	before := g.count(ctx, total)
	for user, request := range map[string]struct{ subject, body string }{
		"api":        {"$JS.API.DIRECT.GET.MAIL_EVENTS", `{"seq":1,"next_by_subj":"mail.events.>"}`},
		"publisher":  {"$JS.API.STREAM.INFO.MAIL_EVENTS", ``},
		"dispatcher": {"$JS.API.DIRECT.GET.MAIL_EVENTS", `{"seq":1,"next_by_subj":"mail.events.>"}`},
	} {
		nc, err := nats.Connect(g.nats(user), nats.CustomInboxPrefix("_INBOX_"+user))
		require.NoError(g.t, err)
		require.NoError(g.t, nc.PublishRequest(request.subject, "mail.intake."+tenant, []byte(request.body)))
		_, err = nc.RequestWithContext(ctx, request.subject, []byte(request.body))
		require.NoError(g.t, err, "%s gets an answer of its own after that", user)
		nc.Close()
	}
	// The stream has this message after the answers, if it has those, and ingest takes them in order.
	operator, err := nats.Connect(g.nats("operator"))
	require.NoError(g.t, err)
	defer operator.Close()
	letters, err := operator.SubscribeSync("mail.dead.>")
	require.NoError(g.t, err)
	require.NoError(g.t, operator.Publish("mail.intake."+tenant, []byte("the last")))
	for last := ""; last != "the last"; {
		m, err := letters.NextMsgWithContext(ctx)
		require.NoError(g.t, err)
		last = string(m.Data)
	}
	require.Equal(g.t, before, g.count(ctx, total))
}
