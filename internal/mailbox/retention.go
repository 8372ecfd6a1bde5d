package mailbox

import (
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long messages and raw mail are kept.
const Retention = 30 * 24 * time.Hour

// Unproven is how long a tenant has to verify a domain.
const Unproven = 7 * 24 * time.Hour

// RetentionRules are the rules for messages, raw mail, conversations, unproven domains and released names.
func RetentionRules() []retention.Rule {
	return []retention.Rule{
		retention.Days("messages", Retention, nil),
		retention.Days("message_raws", Retention, nil),
		retention.Buckets("conversation_keys"),
		retention.Rows("delete the domains that nobody has proven",
			`DELETE FROM fanmail.domains WHERE verified_at IS NULL AND created_at < now() - make_interval(secs => $1)`, Unproven.Seconds()),
		retention.Rows("delete the names whose quarantine is over",
			`DELETE FROM fanmail.released_names WHERE released_at < now() - make_interval(secs => $1)`, Quarantine.Seconds()),
	}
}
