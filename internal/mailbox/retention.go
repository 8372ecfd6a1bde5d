package mailbox

import (
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long messages and raw mail are kept.
const Retention = 30 * 24 * time.Hour

// RetentionRules are the rules for messages, raw mail and conversations.
func RetentionRules() []retention.Rule {
	return []retention.Rule{
		retention.Days("messages", Retention, nil),
		retention.Days("message_raws", Retention, nil),
		retention.Buckets("conversation_keys"),
	}
}
