package erasure_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
)

func tables() []pg.TenantRows {
	return engine.TenantRows(slices.Concat(api.TenantRows(), console.TenantRows()))
}

// rowsOfTenant insert rows of the tenant $1 whose texts begin with $2.
var rowsOfTenant = []string{
	`INSERT INTO fanmail.api_keys (id, tenant_id, name, secret_hash) VALUES (gen_random_uuid(), $1, $2, convert_to($2, 'UTF8'))`,
	`INSERT INTO fanmail.portal_links (id, tenant_id, webhook_ids, token_hash, origins, theme, expires_at) VALUES (gen_random_uuid(), $1, '{}', convert_to($2, 'UTF8'), '{}', '{}', now())`,
	`INSERT INTO fanmail.audit_log (id, tenant_id, actor_kind, actor_id, actor_name, operation, object, after) VALUES (gen_random_uuid(), $1, 'key', 'key_1', 'ci', 'create-agent', $2 || '@agents.example', jsonb_build_object('address', $2 || '@agents.example'))`,
	`INSERT INTO fanmail.audit_log (id, tenant_id, actor_kind, actor_id, actor_name, operation, object) VALUES (gen_random_uuid(), $1, 'key', 'key_1', 'ci', 'verify-domain', $2 || '.example')`,
	`INSERT INTO fanmail.audit_log (id, tenant_id, actor_kind, actor_id, actor_name, operation, object) SELECT gen_random_uuid(), $1, 'key', 'key_1', 'ci', 'revoke-key', 'key_' || md5($2)`,
	`INSERT INTO fanmail.tenant_quotas (tenant_id, keys) SELECT $1, length($2)`,
	`INSERT INTO fanmail.tenant_usage (tenant_id, day, events) SELECT $1, current_date, length($2)`,
	`INSERT INTO fanmail.agents (tenant_id, address) VALUES ($1, $2 || '@agents.example')`,
	`INSERT INTO fanmail.domains (tenant_id, name, token) VALUES ($1, $2 || '.example', 'x')`,
	`INSERT INTO fanmail.released_names (tenant_id, name) VALUES ($1, $2 || '@old.example')`,
	`INSERT INTO fanmail.event_types (tenant_id, name) VALUES ($1, $2 || '.made')`,
	`INSERT INTO fanmail.strict_tenants (tenant_id) SELECT $1::uuid WHERE $2 <> ''`,
	`INSERT INTO fanmail.idempotency_keys (tenant_id, key, request_hash) VALUES ($1, $2, '')`,
	`INSERT INTO fanmail.console_sessions (tenant_id, token_hash, subject, expires_at) VALUES ($1, convert_to($2, 'UTF8'), $2, now() + interval '1 h')`,
	`INSERT INTO fanmail.console_sessions (viewed_tenant_id, token_hash, subject, expires_at) SELECT $1, decode(md5($2), 'hex'), 'operator', now() + interval '1 h'`,
	`INSERT INTO fanmail.replays (id, tenant_id, mode, since, until) SELECT gen_random_uuid(), $1, 'all', now(), now() WHERE $2 <> ''`,
	`INSERT INTO fanmail.replay_deliveries (replay_id, webhook_id, seq, event_id, event_created_at, event_type, message_id) SELECT id, gen_random_uuid(), 1, gen_random_uuid(), now(), 'email.sent', $2 FROM fanmail.replays WHERE tenant_id = $1`,
	`INSERT INTO fanmail.conversation_keys (bucket, tenant_id, mail, conversation) SELECT fanmail.bucket(now()), $1, gen_random_uuid(), gen_random_uuid() WHERE $2 <> ''`,
	`INSERT INTO fanmail.operational_events (tenant_id, type, data) VALUES ($1, 'webhook.failing', jsonb_build_object('url', $2::text))`,
	`INSERT INTO fanmail.erasures (id, tenant_id, kind, requested_by, phase, finished_at) SELECT gen_random_uuid(), $1, 'address', 'key_1', 'completed', now() WHERE $2 <> ''`,
	// Past the retention of its event.
	`INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size) VALUES (gen_random_uuid(), now(), $1, $2 || '@agents.example', gen_random_uuid(), gen_random_uuid(), 1)`,
}

// furnish gives a tenant a row in each table that has rows of tenants, and a dead letter.
func (r *rig) furnish(tenant events.TenantID, name string) {
	r.t.Helper()
	hook := r.webhook(tenant, "/"+name)
	for _, sql := range rowsOfTenant {
		r.exec(sql, tenant, name)
	}
	r.exec(`INSERT INTO fanmail.alert_mails (webhook_id, tenant_id) VALUES ($1, $2)`, hook, tenant)
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, max_attempts, status, event_type)
		VALUES (gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now(), 1, 8, 'failed', 'email.sent')`, hook, tenant)
	r.exec(`INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, response)
		SELECT id, created_at, 1, now(), 1, 500, 'x', $2 FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, hook, name)
	_, err := r.js.Publish(r.t.Context(), events.DeadIntakePrefix+tenant.String(), []byte(name))
	require.NoError(r.t, err)
}

func (r *rig) deadLetters(tenant events.TenantID) int {
	s, err := r.js.Stream(r.t.Context(), stream.Dead)
	require.NoError(r.t, err)
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(events.DeadIntakePrefix+tenant.String()))
	require.NoError(r.t, err)
	return len(info.State.Subjects)
}

// kept are the tables in which rows of a tenant stay, and what stays.
var kept = map[string]string{
	"audit_log": "who did what, without what",
	"erasures":  "the proof",

	"closed_tenants": "the id, so that no event of the tenant is inserted again",
}

// TestATenantIsErasedFromEveryTableAndTheOthersAreNot fails for a new table with rows of tenants: furnish has no row for
// it, or the list of tables does not delete it.
func TestATenantIsErasedFromEveryTableAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gone, stays := r.tenant(), r.tenant()
	r.engine()
	for tenant, name := range map[events.TenantID]string{gone: "goneword", stays: "stayword"} {
		r.furnish(tenant, name)
		r.mail(letter{from: name + "@shop.example", to: "robot@agents.example"}, tenant)
		r.mail(letter{from: name + "@shop.example", to: "robot@agents.example", large: true}, tenant)
	}
	r.mail(letter{from: ann, to: "robot@agents.example"}, gone, stays)
	r.delivered()
	r.exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, leased_until) SELECT id, nextval('fanmail.outbox_seq'), gen_random_uuid(), now(), now() + interval '1 h' FROM fanmail.tenants`)
	require.NoError(t, outbox.Close(t.Context(), r.pool, gone))
	before, others := r.all(gone), r.all(stays)
	for name, rows := range before {
		require.NotEmpty(t, rows, "no row of %s is tested: add one to furnish", name)
	}
	covered := map[string]bool{"messages": true}
	for _, table := range tables() {
		covered[table.Table] = true
	}
	for name := range before {
		require.True(t, covered[name] || kept[name] != "" || slices.Contains([]string{"stream", "blobs", "raws", "attempts"}, name), "no owner deletes a tenant's rows of %s: add them to its TenantRows", name)
	}

	asked, err := erasure.OfTenant(t.Context(), r.pool, gone, time.Hour, "key_operator")
	require.NoError(t, err)
	require.Equal(t, erasure.Waiting, asked.State)
	require.NoError(t, r.worker().Round(t.Context()))
	require.Equal(t, before["events"], r.all(gone)["events"], "nothing is removed within the grace period")
	r.exec(`UPDATE fanmail.erasures SET due_at = now() WHERE id = $1`, asked.ID)
	done := r.end(asked)
	require.EqualValues(t, 3, done.Removed["events"])
	require.EqualValues(t, 3, done.Removed["stream_messages"])
	require.EqualValues(t, 1, done.Removed["blobs"])
	require.EqualValues(t, 1, done.Removed["webhooks"], "it is ended first and removed later, and is one")
	require.EqualValues(t, 1, done.Removed["console_sessions"], "that of the operator stays")

	for name, rows := range r.all(gone) {
		if kept[name] == "" {
			require.Empty(t, rows, name)
		}
	}
	require.Zero(t, r.count(`SELECT count(*) FROM fanmail.tenants WHERE id = $1`, gone))
	require.Zero(t, r.deadLetters(gone))
	require.Empty(t, r.holding("goneword"), "no table, stream or erasure has its words")
	require.Equal(t, 1, r.count(`SELECT count(*) FROM fanmail.audit_log WHERE tenant_id = $1 AND operation = 'create-agent' AND before IS NULL AND after IS NULL AND object = '(erased)'`, gone))
	require.Equal(t, 1, r.count(`SELECT count(*) FROM fanmail.audit_log WHERE tenant_id = $1 AND operation = 'revoke-key' AND object LIKE 'key_%'`, gone), "ids stay")
	require.Equal(t, others, r.all(stays), "nothing of the other tenant has changed")
	require.Equal(t, 1, r.deadLetters(stays))
}

func TestARestoredTenantIsNotErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	asked, err := erasure.OfTenant(t.Context(), r.pool, tenant, time.Hour, "key_operator")
	require.NoError(t, err)
	r.exec(`UPDATE fanmail.erasures SET requested_at = now() - interval '1 day'`)
	require.Zero(t, r.underWay(), "the grace period does not count")
	was, err := erasure.Cancel(t.Context(), r.pool, tenant)
	require.NoError(t, err)
	require.True(t, was)
	now, err := erasure.Get(t.Context(), r.pool, tenant, asked.ID)
	require.NoError(t, err)
	require.Equal(t, erasure.Cancelled, now.State)
	r.exec(`UPDATE fanmail.erasures SET due_at = now()`)
	require.NoError(t, r.worker().Round(t.Context()))
	require.Equal(t, 1, r.count(`SELECT count(*) FROM fanmail.tenants`))

	asked, err = erasure.OfTenant(t.Context(), r.pool, tenant, time.Hour, "key_operator")
	require.NoError(t, err)
	r.exec(`UPDATE fanmail.erasures SET begins_at = now() - interval '2 hours' WHERE finished_at IS NULL`) // and the process that begins has failed: due_at is later
	was, err = erasure.Cancel(t.Context(), r.pool, tenant)
	require.NoError(t, err)
	require.False(t, was, "the grace period is over")
	require.InDelta(t, 2*time.Hour.Seconds(), r.underWay(), time.Hour.Seconds())
	r.exec(`UPDATE fanmail.erasures SET due_at = now() WHERE finished_at IS NULL`)
	require.Equal(t, erasure.Completed, r.end(asked).State)
	require.Zero(t, r.count(`SELECT count(*) FROM fanmail.tenants`))
}
