// Package e2atest fills a database with the tables of e2a v0.4.0, the system that Fanmail's users come from, for tests
// of the import.
package e2atest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// Schema are the tables as they stand at v0.4.0.
const Schema = `
CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL, name text NOT NULL DEFAULT '', created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE api_keys (id text PRIMARY KEY, user_id text NOT NULL REFERENCES users, name text NOT NULL DEFAULT '', key_prefix text NOT NULL DEFAULT '',
	key_hash text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), revoked_at timestamptz, expires_at timestamptz);
CREATE TABLE agent_identities (id text PRIMARY KEY, domain text NOT NULL, user_id text NOT NULL REFERENCES users, name text NOT NULL DEFAULT '',
	webhook_url text NOT NULL DEFAULT '', agent_mode text NOT NULL DEFAULT 'cloud', created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE webhooks (id text PRIMARY KEY, user_id text NOT NULL REFERENCES users, url text NOT NULL, description text NOT NULL DEFAULT '', events text[] NOT NULL,
	filters jsonb NOT NULL DEFAULT '{}', signing_secret text NOT NULL, signing_secret_prev text, signing_secret_prev_expires_at timestamptz,
	enabled boolean NOT NULL DEFAULT true, auto_disabled_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(), last_delivered_at timestamptz);
CREATE TABLE messages (id text PRIMARY KEY, agent_id text NOT NULL, direction text NOT NULL, sender text NOT NULL DEFAULT '', recipient text NOT NULL DEFAULT '',
	subject text NOT NULL DEFAULT '', email_message_id text NOT NULL DEFAULT '', raw_message bytea, auth_headers jsonb, conversation_id text,
	to_recipients text[] NOT NULL DEFAULT '{}', cc text[] NOT NULL DEFAULT '{}', reply_to text[] NOT NULL DEFAULT '{}', labels text[] NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL DEFAULT now() + interval '30 days');
CREATE TABLE webhook_events (id text PRIMARY KEY, user_id text NOT NULL REFERENCES users, type text NOT NULL, envelope jsonb NOT NULL, schema_version smallint NOT NULL DEFAULT 1,
	agent_id text, conversation_id text, message_id text REFERENCES messages ON DELETE SET NULL, status text NOT NULL DEFAULT 'pending',
	matched_webhook_ids text[] NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL DEFAULT now() + interval '30 days');
CREATE TABLE webhook_subscriber_deliveries (id text PRIMARY KEY, webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE, event_type text NOT NULL,
	event_payload jsonb NOT NULL, message_id text REFERENCES messages ON DELETE SET NULL, status text NOT NULL DEFAULT 'pending', attempts integer NOT NULL DEFAULT 0,
	max_attempts integer NOT NULL DEFAULT 8, last_error text NOT NULL DEFAULT '', last_status_code integer, last_attempt_at timestamptz,
	next_retry_at timestamptz NOT NULL DEFAULT now(), created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL DEFAULT now() + interval '90 days',
	event_id text, replay_id text);
CREATE UNIQUE INDEX ON webhook_subscriber_deliveries (event_id, webhook_id) WHERE event_id IS NOT NULL AND replay_id IS NULL;
CREATE TABLE webhook_deliveries (message_id text PRIMARY KEY REFERENCES messages ON DELETE CASCADE, status text NOT NULL DEFAULT 'pending', attempts integer NOT NULL DEFAULT 0,
	max_attempts integer NOT NULL DEFAULT 5, last_error text NOT NULL DEFAULT '', last_attempt_at timestamptz, next_retry_at timestamptz NOT NULL DEFAULT now(),
	created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL DEFAULT now() + interval '48 hours');`

// The accounts of a [Database]: two users. The webhooks A to D and the agents are Ann's, E is Ben's.
const (
	Ann = "0a000000000000000000000000000001"
	Ben = "0b000000000000000000000000000002"

	Robot = "Robot@mail.example" // has no webhook of its own
	Clerk = "clerk@mail.example" // has one, at /clerk

	HookA = "wh_a0000000000000000000000000000001" // rotated: both secrets sign
	HookB = "wh_40000000000000000000000000000002" // rotated long ago
	HookC = "wh_70000000000000000000000000000003" // of Robot's events alone
	HookD = "wh_c0000000000000000000000000000004" // disabled
	HookE = "wh_e0000000000000000000000000000005" // Ben's

	KeyValid   = "e2a_live_ann" // Ann's; the others are refused
	KeyRevoked = "e2a_old_ann"
	KeyExpired = "e2a_expired_ann"
)

// Secret returns the signing secret of a webhook, or the one before it.
func Secret(hook string, previous bool) string {
	if previous {
		hook += " before"
	}
	return "whsec_" + hashOf(hook)
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Database is a database of e2a.
type Database struct {
	URL  string
	Pool *pgxpool.Pool
}

// New makes a database with the tables and the accounts. receiver is the address of the webhooks' endpoints, such as
// http://127.0.0.1:1; a webhook is at /A to /E.
func New(t testing.TB, receiver string) *Database {
	t.Helper()
	return In(t, pgtest.EmptyURL(t), receiver)
}

// In makes the tables and the accounts in a database, as [New] does.
func In(t testing.TB, url, receiver string) *Database {
	t.Helper()
	d := &Database{URL: url, Pool: pgtest.Open(t, url)}
	d.Exec(t, Schema)
	d.Exec(t, `INSERT INTO users (id, email, name) VALUES ($1, 'ann@example.com', 'Ann'), ($2, 'ben@example.com', '')`, Ann, Ben)
	d.Exec(t, `INSERT INTO api_keys (id, user_id, name, key_hash, revoked_at, expires_at) VALUES
		('k1', $1, 'laptop', $2, NULL, now() + interval '1 day'), ('k2', $1, 'old', $3, now(), NULL), ('k3', $1, 'short', $4, NULL, now() - interval '1 hour')`,
		Ann, hashOf(KeyValid), hashOf(KeyRevoked), hashOf(KeyExpired))
	d.Exec(t, `INSERT INTO agent_identities (id, domain, user_id, webhook_url) VALUES ($1, 'mail.example', $3, ''), ($2, 'mail.example', $3, $4)`, Robot, Clerk, Ann, receiver+"/clerk")
	for _, h := range []struct{ id, user, path, events, filters string }{
		{HookA, Ann, "/A", `{email.received,email.sent}`, `{}`},
		{HookB, Ann, "/B", `{email.received}`, `{}`},
		{HookC, Ann, "/C", `{email.received}`, `{"agent_ids": ["` + Robot + `"], "labels": []}`},
		{HookD, Ann, "/D", `{email.received}`, `{}`},
		{HookE, Ben, "/E", `{email.received}`, `{}`},
	} {
		d.Exec(t, `INSERT INTO webhooks (id, user_id, url, events, filters, signing_secret, enabled) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			h.id, h.user, receiver+h.path, h.events, h.filters, Secret(h.id, false), h.id != HookD)
	}
	d.Exec(t, `UPDATE webhooks SET signing_secret_prev = $2, signing_secret_prev_expires_at = now() + interval '20 hours' WHERE id = $1`, HookA, Secret(HookA, true))
	d.Exec(t, `UPDATE webhooks SET signing_secret_prev = $2, signing_secret_prev_expires_at = now() - interval '1 hour' WHERE id = $1`, HookB, Secret(HookB, true))
	return d
}

// Exec runs a statement.
func (d *Database) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := d.Pool.Exec(context.Background(), sql, args...)
	require.NoError(t, err, strings.TrimSpace(sql)[:min(len(strings.TrimSpace(sql)), 200)])
}

// envelope is the SQL of the envelope of event e (id, created_at) of type t: every other one of a later release.
const envelope = `CASE WHEN n % 2 = 0
	THEN jsonb_build_object('event', typ, 'id', id, 'created_at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'schema_version', 1, 'data', data)
	ELSE jsonb_build_object('type', typ, 'id', id, 'created_at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'schema_version', 1, 'data', data) END`

// The statement has one number: of events, each with four deliveries.
const fillEvents = `
INSERT INTO webhook_events (id, user_id, type, envelope, agent_id, conversation_id, status, matched_webhook_ids, created_at)
SELECT id, '` + Ann + `', typ, ` + envelope + `, '` + Robot + `', 'conv_' || n % 7, 'processed', '{` + HookA + `,` + HookB + `,` + HookC + `,` + HookD + `}', at
FROM (SELECT n, 'evt_' || md5('event ' || n) AS id, 'email.received' AS typ, now() - interval '28 days' + n * interval '28 days' / $1::integer - interval '1 minute' AS at,
	jsonb_build_object('message_id', 'msg_' || n, 'from', 'someone@example.com', 'to', '["` + Robot + `"]'::jsonb, 'recipient', '` + Robot + `', 'raw_message', 'aGVsbG8=',
		'auth_headers', '{"X-E2A-Auth-Verified": "true"}'::jsonb, 'n', n) AS data
	FROM generate_series(1, $1::integer) AS n) AS e`

// Of each event's deliveries, about one in 61 is pending and one in 23 has failed.
const fillDeliveries = `
INSERT INTO webhook_subscriber_deliveries (id, webhook_id, event_type, event_payload, status, attempts, last_error, last_status_code, last_attempt_at, next_retry_at, created_at, event_id)
SELECT 'whd_' || md5(e.id || w.id), w.id, e.type, e.envelope, s.status, CASE s.status WHEN 'pending' THEN 1 + r.k % 4 WHEN 'failed' THEN 8 ELSE 1 END,
	CASE s.status WHEN 'delivered' THEN '' ELSE 'HTTP 503' END, CASE s.status WHEN 'delivered' THEN 200 ELSE 503 END, e.created_at + interval '10 seconds',
	CASE s.status WHEN 'pending' THEN now() - interval '1 minute' ELSE e.created_at END, e.created_at + interval '1 millisecond', e.id
FROM webhook_events AS e CROSS JOIN unnest(e.matched_webhook_ids) WITH ORDINALITY AS w (id, n),
	LATERAL (SELECT abs(hashtext(e.id || w.id)) AS k) AS r, LATERAL (SELECT CASE WHEN r.k % 61 = 0 THEN 'pending' WHEN r.k % 23 = 0 THEN 'failed' ELSE 'delivered' END AS status) AS s`

// The deliveries of e2a without its event log: each event is in the payload alone, and goes to two webhooks.
const fillUnlinked = `
INSERT INTO webhook_subscriber_deliveries (id, webhook_id, event_type, event_payload, status, attempts, last_attempt_at, created_at)
SELECT 'whd_' || md5('unlinked ' || n || w), w, typ, ` + envelope + `, CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'delivered' END, CASE WHEN n % 10 = 0 THEN 0 ELSE 1 END, now() - interval '3 days', at
FROM (SELECT n, 'evt_' || md5('unlinked ' || n) AS id, 'email.received' AS typ, now() - interval '3 days' + n * interval '1 second' AS at, jsonb_build_object('n', n) AS data
	FROM generate_series(1, 100) AS n) AS e, unnest(ARRAY['` + HookA + `', '` + HookB + `']) AS w`

// A test of a webhook, a replay of an event, and a second delivery of an event by e2a's earlier path.
const fillOthers = `
INSERT INTO webhook_subscriber_deliveries (id, webhook_id, event_type, event_payload, status, attempts, created_at, event_id, replay_id)
SELECT 'whd_' || md5('test'), '` + HookB + `', 'email.received', '{"event": "email.received", "id": "evt_` + testEvent + `", "created_at": "2026-01-01T00:00:00Z", "data": {"test": true}}'::jsonb, 'pending', 0, now() - interval '1 hour', NULL, NULL
UNION ALL SELECT 'whd_' || md5('replay' || id), '` + HookA + `', type, envelope, 'delivered', 1, now() - interval '1 hour', id, 'rpl_1' FROM (SELECT * FROM webhook_events WHERE status = 'processed' ORDER BY id LIMIT 20) AS e
UNION ALL SELECT 'whd_' || md5('twice' || id), '` + HookA + `', type, envelope, 'delivered', 1, created_at + interval '2 milliseconds', NULL, NULL FROM (SELECT * FROM webhook_events WHERE status = 'processed' ORDER BY id LIMIT 20) AS e`

const testEvent = "7e570000000000000000000000000000"

// Waiting is how many events are not fanned out; the last of them is too large for the broker.
const Waiting = 40

const fillWaiting = `
INSERT INTO webhook_events (id, user_id, type, envelope, agent_id, status, created_at)
SELECT id, '` + Ann + `', typ, ` + envelope + `, '` + Robot + `', 'pending', at
FROM (SELECT n, 'evt_' || md5('waiting ' || n) AS id, 'email.received' AS typ, now() - interval '1 minute' AS at,
	jsonb_build_object('n', n, 'raw_message', CASE WHEN n = $1::integer THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) AS i) ELSE 'aGVsbG8=' END) AS data
	FROM generate_series(1, $1::integer) AS n) AS e`

// Mails is how many mails Clerk has; one in four has a pending delivery, and half have an event.
const Mails = 40

const fillMails = `
INSERT INTO messages (id, agent_id, direction, sender, recipient, subject, raw_message, auth_headers, conversation_id, to_recipients, reply_to, created_at)
SELECT 'msg_mail' || n, '` + Clerk + `', 'inbound', 'someone@example.com', '` + Clerk + `', 'Mail ' || n, convert_to(E'Subject: Mail ' || n || E'\r\n\r\nHello.\r\n', 'UTF8'),
	jsonb_build_object('X-E2A-Auth-Verified', 'true', 'X-E2A-Auth-Sender', 'someone@example.com', 'X-E2A-Auth-Signature', 'sig' || n), 'conv_1', ARRAY['` + Clerk + `'], ARRAY['reply@example.com'],
	now() - interval '2 hours' + n * interval '1 second' FROM generate_series(1, $1::integer) AS n`

const fillMailEvents = `
INSERT INTO webhook_events (id, user_id, type, envelope, agent_id, message_id, status, created_at)
SELECT 'evt_' || md5('mail ' || id), '` + Ann + `', 'email.received', jsonb_build_object('event', 'email.received', 'id', 'evt_' || md5('mail ' || id), 'created_at', '2026-01-01T00:00:00Z',
	'schema_version', 1, 'data', jsonb_build_object('message_id', id, 'conversation_id', conversation_id, 'from', sender, 'to', to_recipients, 'cc', cc, 'reply_to', reply_to, 'recipient', recipient,
	'subject', subject, 'raw_message', encode(raw_message, 'base64'), 'auth_headers', auth_headers, 'received_at', '2026-01-01T00:00:00Z')),
	'` + Clerk + `', id, 'no_match', created_at + interval '3 milliseconds' FROM messages WHERE right(id, 1) IN ('0', '2', '4', '6', '8')`

const fillAgentDeliveries = `
INSERT INTO webhook_deliveries (message_id, status, attempts, last_error, last_attempt_at, next_retry_at, created_at, expires_at)
SELECT id, status, CASE status WHEN 'delivered' THEN 1 WHEN 'failed' THEN 5 ELSE 2 END, CASE status WHEN 'delivered' THEN '' ELSE 'HTTP 500' END, created_at, now() - interval '1 minute', created_at, created_at + interval '48 hours'
FROM (SELECT *, CASE substr(id, 9)::integer % 4 WHEN 0 THEN 'pending' WHEN 1 THEN 'failed' ELSE 'delivered' END AS status FROM messages) AS m`

// Fill adds events with four deliveries each, in all states, and one of each kind that an import must know.
func (d *Database) Fill(t testing.TB, events int) {
	t.Helper()
	d.Exec(t, fillEvents, events)
	d.Exec(t, fillDeliveries)
	d.Exec(t, fillUnlinked)
	d.Exec(t, fillOthers)
	d.Exec(t, fillWaiting, Waiting)
	d.Exec(t, fillMails, Mails)
	d.Exec(t, fillMailEvents)
	d.Exec(t, fillAgentDeliveries)
	d.Exec(t, `ANALYZE`)
}

// Pair is an event and the path of a webhook.
type Pair struct{ Event, Path string }

// Pairs returns how many deliveries of each pair have a status. The path is that of the webhook's URL.
func (d *Database) Pairs(t testing.TB, status string) map[Pair]int {
	t.Helper()
	rows, err := d.Pool.Query(t.Context(), `SELECT coalesce(d.event_id, d.event_payload ->> 'id'), substring(w.url FROM '/[A-E]$') FROM webhook_subscriber_deliveries AS d
		JOIN webhooks AS w ON w.id = d.webhook_id WHERE d.status = $1`, status)
	require.NoError(t, err)
	defer rows.Close()
	pairs := map[Pair]int{}
	for rows.Next() {
		var p Pair
		require.NoError(t, rows.Scan(&p.Event, &p.Path))
		pairs[p]++
	}
	require.NoError(t, rows.Err())
	return pairs
}
