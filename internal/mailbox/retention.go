package mailbox

import (
	"cmp"
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long messages and raw mail are kept by default, and at most.
const Retention = 30 * 24 * time.Hour

// Unproven is how long a tenant has to verify a domain.
const Unproven = 7 * 24 * time.Hour

// A raw mail goes with the last message that names it. Another tenant may have one.
const deleteOfTenants = `
WITH old AS MATERIALIZED (
	SELECT m.id, m.created_at, m.raw_id, m.shared FROM unnest($1::uuid[], $2::float8[]) AS t (tenant_id, keep) CROSS JOIN LATERAL (
		SELECT id, created_at, raw_id, shared FROM fanmail.messages
		WHERE tenant_id = t.tenant_id AND created_at < now() - make_interval(secs => t.keep) ORDER BY created_at LIMIT 500) AS m LIMIT 1000
), raws AS (
	DELETE FROM fanmail.message_raws AS r USING (SELECT DISTINCT raw_id, created_at, shared FROM old) AS o
	WHERE r.id = o.raw_id AND r.created_at = o.created_at AND NOT (o.shared AND EXISTS (
		SELECT 1 FROM fanmail.messages AS m WHERE m.raw_id = o.raw_id AND m.shared AND m.created_at = o.created_at AND m.id <> ALL (ARRAY(SELECT id FROM old)) OFFSET 0))
)
DELETE FROM fanmail.messages AS m USING old WHERE m.id = old.id AND m.created_at = old.created_at`

// RetentionRules are the rules for messages, raw mail, conversations, unproven domains and released names.
func RetentionRules(p retention.Policy) []retention.Rule {
	keep := cmp.Or(p.Mail, Retention)
	return []retention.Rule{
		retention.Days("messages", keep, nil),
		retention.Days("message_raws", keep, nil),
		retention.OfTenants("delete old mail of tenants", deleteOfTenants, p.Tenants, func(t retention.Tenant) time.Duration { return t.Mail }),
		retention.Buckets("conversation_keys"),
		retention.Rows("delete the domains that nobody has proven",
			`DELETE FROM fanmail.domains WHERE verified_at IS NULL AND created_at < now() - make_interval(secs => $1)`, Unproven.Seconds()),
		retention.Rows("delete the names whose quarantine is over",
			`DELETE FROM fanmail.released_names WHERE released_at < now() - make_interval(secs => $1)`, Quarantine.Seconds()),
	}
}
