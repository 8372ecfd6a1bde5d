package importe2a_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/importe2a"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestWhatE2AHasIsImportedOnceAndNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, 5000)
	first := r.run(r.options())
	require.Empty(t, first.Problems)
	require.Zero(t, first.Missing())
	require.Zero(t, r.check().Missing())
	second := r.run(r.options())
	require.Zero(t, added(second), "a second import adds nothing: %+v", second)

	// What must arrive: each pending delivery of an enabled webhook, and each event that was not fanned out.
	want := r.there.Pairs(t, "pending")
	for n := 1; n <= e2atest.Waiting; n++ {
		var id string
		require.NoError(t, r.there.Pool.QueryRow(t.Context(), `SELECT 'evt_' || md5('waiting ' || $1::integer)`, n).Scan(&id))
		for _, path := range []string{"/A", "/B", "/C"} {
			want[e2atest.Pair{Event: id, Path: path}] = 1
		}
	}
	disabled := 0
	for pair := range want {
		if pair.Path == "/D" {
			disabled++
			delete(want, pair)
		}
	}
	require.Greater(t, len(want), 300)
	for _, path := range []string{"/A", "/B", "/C"} {
		r.sink.Secret(path, e2atest.Secret(map[string]string{"/A": e2atest.HookA, "/B": e2atest.HookB, "/C": e2atest.HookC}[path], false))
	}
	c := r.start()
	mails := e2atest.Mails / 4
	r.wait(func() bool { return r.sink.Count() >= len(want)+mails })
	r.idle()
	got := r.arrived(0)
	delete(got, e2atest.Pair{Path: "/clerk"})
	require.Equal(t, want, got, "every pending one arrives once")
	r.checkRequests()
	r.checkClerk(mails)

	// The deliveries of a disabled webhook waited.
	_, err := c.ChangeWebhook(t.Context(), r.ann, hookID(t, e2atest.HookD), fanmail.WebhookChange{Enabled: new(true)})
	require.NoError(t, err)
	r.wait(func() bool { return r.sink.CountTo("/D") >= disabled })
	r.idle()

	// A replay of what was missed sends what had failed, and nothing that was delivered.
	before := r.sink.Count()
	run, err := c.CreateReplay(t.Context(), r.ann, fanmail.ReplayRequest{Since: time.Now().Add(-29 * 24 * time.Hour), Mode: fanmail.ReplayMissed, WebhookID: hookID(t, e2atest.HookA)})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		run, err = c.GetReplay(context.Background(), r.ann, run.ID)
		return err == nil && run.State == "completed"
	}, patience, 50*time.Millisecond)
	again := r.arrived(before)
	for _, status := range []string{"delivered", "pending"} {
		for pair := range r.there.Pairs(t, status) {
			require.Zero(t, again[pair], "%s was %s", pair, status)
		}
	}
	for pair := range r.there.Pairs(t, "failed") {
		if pair.Path == "/A" {
			require.Equal(t, 1, again[pair], "%s had failed", pair)
		}
	}
	require.Zero(t, added(r.run(r.options())), "an import after all was delivered adds nothing")
	r.checkKeys()
}

func hookID(t *testing.T, text string) events.WebhookID {
	t.Helper()
	id, err := events.Parse[events.WebhookKind](text)
	require.NoError(t, err)
	return id
}

// checkRequests checks signatures, bodies and attempts of what arrived.
func (r *rig) checkRequests() {
	t := r.t
	attempts := map[string]int{}
	rows, err := r.there.Pool.Query(t.Context(), `SELECT coalesce(event_id, event_payload ->> 'id') || webhook_id, attempts FROM webhook_subscriber_deliveries WHERE status = 'pending'`)
	require.NoError(t, err)
	for rows.Next() {
		var key string
		var n int
		require.NoError(t, rows.Scan(&key, &n))
		attempts[key] = n
	}
	require.NoError(t, rows.Err())
	hooks := map[string]string{"/A": e2atest.HookA, "/B": e2atest.HookB, "/C": e2atest.HookC}
	for _, p := range r.sink.Posts(0) {
		hook, ok := hooks[p.Path]
		if !ok {
			continue
		}
		require.NoError(t, p.VerifyErr, "the present secret signs, in both schemes")
		err := signature.Verify(e2atest.Secret(hook, true), p.Header, p.Body, p.At, 0)
		if hook == e2atest.HookA {
			require.NoError(t, err, "the previous secret signs too")
		} else {
			require.ErrorIs(t, err, signature.ErrMismatch)
		}
		require.Equal(t, attempts[p.EventID+hook]+1, p.Attempt, "attempts go on")
		var body struct{ ID string }
		require.NoError(t, json.Unmarshal(p.Body, &body))
		require.Equal(t, p.EventID, body.ID)
	}
	var stored string
	id := r.sink.PostsTo("/B")[0]
	require.NoError(t, r.there.Pool.QueryRow(t.Context(), `SELECT coalesce((SELECT envelope::text FROM webhook_events WHERE id = $1),
		(SELECT event_payload::text FROM webhook_subscriber_deliveries WHERE event_payload ->> 'id' = $1 LIMIT 1))`, id.EventID).Scan(&stored))
	require.Equal(t, stored, string(id.Body), "the envelope is e2a's, byte for byte")
}

// checkClerk checks the mails that came to the agent's own webhook.
func (r *rig) checkClerk(mails int) {
	seen := map[string]bool{}
	for _, p := range r.sink.PostsTo("/clerk") {
		var pay agentwebhook.Payload
		require.NoError(r.t, json.Unmarshal(p.Body, &pay))
		require.False(r.t, seen[pay.MessageID], "once")
		seen[pay.MessageID] = true
		n := strings.TrimPrefix(pay.MessageID, "msg_mail")
		require.Equal(r.t, fmt.Sprintf("Subject: Mail %s\r\n\r\nHello.\r\n", n), string(pay.RawMessage))
		require.Equal(r.t, []string{"reply@example.com"}, pay.ReplyTo)
		require.Equal(r.t, "someone@example.com", pay.From)
		require.Equal(r.t, "sig"+n, p.Header.Get("X-E2A-Auth-Signature"), "the results of authentication are e2a's")
		require.Equal(r.t, 3, p.Attempt)
	}
	require.Len(r.t, seen, mails)
}

func (r *rig) checkKeys() {
	who, err := tenancy.Authenticate(r.t.Context(), r.pool, e2atest.KeyValid)
	require.NoError(r.t, err)
	require.Equal(r.t, r.ann, who.TenantID)
	for _, key := range []string{e2atest.KeyRevoked, e2atest.KeyExpired} {
		_, err := tenancy.Authenticate(r.t.Context(), r.pool, key)
		require.ErrorIs(r.t, err, tenancy.ErrUnauthenticated, key)
	}
}

func TestWhileE2ARunsItKeepsWhatItWillSend(t *testing.T) {
	t.Parallel()
	r := newRig(t, 200)
	o := r.options()
	o.Follow = true
	report := r.run(o)
	require.Zero(t, report.Missing())
	pending := rowOf(t, report, "pending deliveries")
	require.Equal(t, pending.There, pending.Left)
	require.Equal(t, int64(e2atest.Waiting), rowOf(t, report, "events").Left)
	require.Positive(t, rowOf(t, report, "pending deliveries to agents' own webhooks").Left)
	var n int
	count := func(sql string) int {
		t.Helper()
		require.NoError(t, r.pool.QueryRow(t.Context(), sql).Scan(&n))
		return n
	}
	const waiting = `SELECT (SELECT count(*) FROM fanmail.outbox) + (SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending')`
	require.Zero(t, count(waiting), "nothing that e2a will send is here")

	// e2a goes on: it delivers what was pending, a webhook is rotated and another changed, and a mail comes.
	r.there.Exec(t, `UPDATE webhook_subscriber_deliveries SET status = 'delivered', attempts = attempts + 1 WHERE status = 'pending' AND webhook_id = $1`, e2atest.HookA)
	r.there.Exec(t, `UPDATE webhooks SET signing_secret_prev = signing_secret, signing_secret = $2, signing_secret_prev_expires_at = now() + interval '24 hours' WHERE id = $1`, e2atest.HookC, "whsec_"+strings.Repeat("ab", 32))
	r.there.Exec(t, `UPDATE webhooks SET enabled = false WHERE id = $1`, e2atest.HookB)
	r.there.Exec(t, `UPDATE api_keys SET revoked_at = now() WHERE id = 'k1'`)
	c, err := fanmail.New(r.pool, nil, fanmail.Config{AllowHTTP: true, AllowNetworks: local, SecretsKey: secret.Text(r.keyset)})
	require.NoError(t, err)
	_, err = c.ChangeWebhook(t.Context(), r.ann, hookID(t, e2atest.HookA), fanmail.WebhookChange{Description: new("changed here")})
	require.NoError(t, err)

	last := r.run(r.options())
	require.Zero(t, last.Missing())
	require.Positive(t, rowOf(t, last, "delivered deliveries").Added, "a second pass takes what came since")
	require.Positive(t, count(waiting))
	require.Equal(t, 1, count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending' AND webhook_id = 'a0000000-0000-0000-0000-000000000001'`),
		"the event that the import fans out itself")
	_, err = tenancy.Authenticate(t.Context(), r.pool, e2atest.KeyValid)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "a key that was revoked there is revoked here")
	w, err := c.GetWebhook(t.Context(), r.ann, hookID(t, e2atest.HookB))
	require.NoError(t, err)
	require.True(t, w.Disabled)
	w, err = c.GetWebhook(t.Context(), r.ann, hookID(t, e2atest.HookA))
	require.NoError(t, err)
	require.Equal(t, "changed here", w.Description, "what changed here alone stays")
	require.Equal(t, 1, w.MaxInFlight)
	require.Equal(t, 1, count(`SELECT count(*) FROM fanmail.webhooks WHERE id = '70000000-0000-0000-0000-000000000003' AND cardinality(previous_secrets) = 1 AND signing_secret LIKE 'sealed:%'`))
}

// What e2a delivered after a pass took it over ends here too, so that a pass in the wrong order doubles as little as it can.
func TestWhatHasEndedThereEndsHere(t *testing.T) {
	t.Parallel()
	r := newRig(t, 200)
	r.run(r.options())
	r.there.Exec(t, `UPDATE webhook_subscriber_deliveries SET status = 'delivered', attempts = attempts + 1 WHERE status = 'pending'`)
	r.run(r.options())
	var pending int
	require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`).Scan(&pending))
	require.Equal(t, 3, pending, "those of the event that the import fans out itself")
}

// The statements of the guide end in e2a what was taken over, and the next import does not end it here.
func TestTheWayBackEndsInE2AWhatWasTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, 100)
	r.run(r.options())
	const waiting = `SELECT (SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending') + (SELECT count(*) FROM fanmail.webhook_deliveries WHERE status = 'pending')`
	var before, after int
	require.NoError(t, r.pool.QueryRow(t.Context(), waiting).Scan(&before))
	require.Positive(t, before)
	page, err := os.ReadFile("../../docs/how-to/move-from-e2a.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "## Go back")
	require.True(t, found)
	statements := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(text)
	require.Len(t, statements, 2)
	r.there.Exec(t, statements[1])
	require.Empty(t, r.there.Pairs(t, "pending"))
	r.run(r.options())
	require.NoError(t, r.pool.QueryRow(t.Context(), waiting).Scan(&after))
	require.Equal(t, before, after)
}

func TestAnInterruptedImportGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, 700)
	for _, stop := range []string{"events", "received mails", "deliveries"} {
		ctx, cancel := context.WithCancel(t.Context())
		o := r.options()
		o.Progress = func(what string, done, total int64) {
			if what == stop && done*2 > total {
				cancel()
			}
		}
		_, err := importe2a.Import(ctx, r.source(), o, func(*importe2a.Report) {})
		cancel()
		require.Error(t, err, stop)
	}
	r.run(r.options())
	report := r.check()
	require.Zero(t, report.Missing(), "%+v", report)
}

func TestProblemsStopAnImportUntilTheyAreAccepted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 20)
	r.there.Exec(t, `INSERT INTO agent_identities (id, domain, user_id, webhook_url) VALUES ('not an address', '', $1, ''), ('ROBOT@mail.example', '', $1, ''), ('x@mail.example', '', $1, 'ftp://x/')`, e2atest.Ann)
	r.there.Exec(t, `INSERT INTO webhooks (id, user_id, url, events, filters, signing_secret) VALUES
		('wh_1', $1, 'ftp://x/', '{email.received}', '{}', 'whsec_x'), ('wh_2', $1, 'https://x.example/', '{email.eaten}', '{}', 'whsec_x'), ('wh_3', $1, 'https://x.example/', '{email.received}', '{"subjects": ["a"]}', 'whsec_x'),
		('wh_4', $1, 'https://x.example/', '{email.received,email.eaten}', '{}', $2)`, e2atest.Ann, e2atest.Secret("4", false))
	r.there.Exec(t, `ALTER TABLE api_keys ADD scope text NOT NULL DEFAULT 'account', ADD read_only boolean; UPDATE api_keys SET scope = 'agent' WHERE id = 'k2'`)
	for range 2 {
		report := r.check()
		text := strings.Join(report.Problems, "\n")
		for _, want := range []string{"agent not an address: ", "ROBOT@mail.example", "agent x@mail.example: webhook_url", "webhook wh_1: url", "webhook wh_2: ", "webhook wh_3: ", `"email.eaten"`, `"read_only"`} {
			require.Contains(t, text, want)
		}
		require.Contains(t, strings.Join(report.Notes, "\n"), "1 API keys are left out: they are restricted to one agent")
	}
	strict := r.options()
	strict.Limits = subscribers.Limits{}
	report, err := importe2a.Check(t.Context(), r.source(), strict)
	require.NoError(t, err)
	require.Contains(t, strings.Join(report.Notes, "\n"), "6 URLs are of plain HTTP", "they are no problem: each attempt is checked")
	_, err = importe2a.Import(t.Context(), r.source(), r.options(), func(*importe2a.Report) {})
	require.ErrorIs(t, err, importe2a.ErrProblems)
	var n int
	require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.tenants`).Scan(&n))
	require.Zero(t, n, "nothing was written")
	o := r.options()
	o.AcceptProblems = true
	report = r.run(o)
	require.Equal(t, int64(3), rowOf(t, report, "webhooks").Out)
	require.Zero(t, report.Missing())
}

func TestANullWhereAValueIsNeededIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 20)
	for _, column := range []string{
		"users.email", "api_keys.key_hash", "agent_identities.user_id", "webhooks.url", "webhook_events.envelope", "webhook_events.type",
		"messages.agent_id", "webhook_subscriber_deliveries.attempts", "webhook_deliveries.attempts",
	} {
		table, name, _ := strings.Cut(column, ".")
		r.there.Exec(t, `ALTER TABLE `+table+` ALTER `+name+` DROP NOT NULL; CREATE TABLE kept AS SELECT * FROM `+table+`; UPDATE `+table+` SET `+name+` = NULL`)
		_, err := importe2a.Check(t.Context(), r.source(), r.options())
		require.ErrorContains(t, err, "SELECT * FROM "+table+" WHERE "+name+" IS NULL", column)
		key := "id"
		if table == "webhook_deliveries" {
			key = "message_id"
		}
		r.there.Exec(t, `UPDATE `+table+` AS t SET `+name+` = kept.`+name+` FROM kept WHERE kept.`+key+` = t.`+key+`; DROP TABLE kept`)
	}
	require.Zero(t, r.run(r.options()).Missing())
}

// TestARowWithoutATimeIsCountedAndNamed: whether a row without created_at is of the last 30 days can't be known.
func TestARowWithoutATimeIsCountedAndNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 20)
	for _, c := range []struct{ table, row, where string }{
		{"webhook_events", "events", "id = (SELECT id FROM webhook_events WHERE status <> 'pending' ORDER BY id LIMIT 1)"},
		{"webhook_subscriber_deliveries", "delivered deliveries", "id = (SELECT id FROM webhook_subscriber_deliveries WHERE status = 'delivered' ORDER BY id LIMIT 1)"},
		{"webhook_deliveries", "ended deliveries to agents' own webhooks", "message_id = (SELECT message_id FROM webhook_deliveries WHERE status <> 'pending' ORDER BY message_id LIMIT 1)"},
		{"messages", "received mails", "id = (SELECT id FROM messages WHERE direction = 'inbound' ORDER BY id LIMIT 1)"},
	} {
		before := rowOf(t, r.check(), c.row)
		r.there.Exec(t, `ALTER TABLE `+c.table+` ALTER created_at DROP NOT NULL; UPDATE `+c.table+` SET created_at = NULL WHERE `+c.where)
		report := r.check()
		row := rowOf(t, report, c.row)
		require.Equal(t, before.There, row.There, "%s: the row is still there", c.row)
		require.Equal(t, before.Out+1, row.Out, c.row)
		require.Contains(t, strings.Join(report.Notes, "\n"), "SELECT * FROM "+c.table+" WHERE created_at IS NULL")
	}
	require.Zero(t, r.run(r.options()).Missing())
}

func TestALaterReleaseHasNoWebhooksOfAgents(t *testing.T) {
	t.Parallel()
	r := newRig(t, 50)
	r.there.Exec(t, `DROP TABLE webhook_deliveries; ALTER TABLE agent_identities DROP COLUMN webhook_url, DROP COLUMN agent_mode; ALTER TABLE messages DROP COLUMN auth_headers;
		ALTER TABLE webhook_subscriber_deliveries DROP COLUMN replay_id`)
	report := r.run(r.options())
	require.Equal(t, "later than v0.4", report.Release)
	require.Zero(t, report.Missing())
	require.Zero(t, r.check().Missing())
}

func TestAnotherDatabaseIsNamedAsSuch(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	report := r.run(r.options())
	require.Zero(t, report.Missing())
	r.there.Exec(t, `ALTER TABLE webhooks DROP COLUMN signing_secret`)
	_, err := importe2a.Open(t.Context(), secret.Text(r.there.URL))
	require.ErrorIs(t, err, importe2a.ErrNoE2A)
	require.ErrorContains(t, err, "webhooks.signing_secret")
	_, err = importe2a.Open(t.Context(), secret.Text(pgtest.EmptyURL(t)))
	require.ErrorIs(t, err, importe2a.ErrNoE2A)
	r.there.Exec(t, `ALTER TABLE webhooks ADD COLUMN signing_secret text; CREATE SCHEMA other`)
	for _, table := range []string{"users", "api_keys", "agent_identities", "webhooks", "webhook_events", "webhook_subscriber_deliveries", "messages"} {
		r.there.Exec(t, `CREATE TABLE other.`+table+` (LIKE public.`+table+`)`)
	}
	_, err = importe2a.Open(t.Context(), secret.Text(r.there.URL))
	require.ErrorContains(t, err, "other, public")
}

// TestATenantThatWasDeletedHereStaysOut imports again from a system that still has the user, as a pass that follows does.
func TestATenantThatWasDeletedHereStaysOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, 200)
	require.NoError(t, outbox.Close(t.Context(), r.pool, r.ann))
	report := r.run(r.options())
	require.EqualValues(t, 1, rowOf(t, report, "tenants").Out)
	require.Contains(t, strings.Join(report.Notes, "\n"), "1 users are left out, with all that they own: their tenants were deleted here")
	tenants := rowOf(t, report, "tenants")
	require.Positive(t, tenants.Added)
	require.Equal(t, tenants.There-1, tenants.Added, "the others are imported")
	for _, table := range []string{"api_keys", "agents", "webhooks", "events", "messages", "webhook_subscriber_deliveries"} {
		var n int
		require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.`+table+` WHERE tenant_id = $1`, r.ann).Scan(&n))
		require.Zero(t, n, table)
	}
}
