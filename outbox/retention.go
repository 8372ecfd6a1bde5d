package outbox

import (
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long events are kept.
const Retention = 30 * 24 * time.Hour

// RetentionRules are the rules for the tables of this package. Apply them after
// those of the deliveries: an event must be kept as long as its deliveries.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Days("events", Retention, nil), retention.Buckets("event_keys")}
}
