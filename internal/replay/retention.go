package replay

import (
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long a finished replay is kept.
const Retention = 30 * 24 * time.Hour

// RetentionRules returns the rules for table replays. replay_deliveries needs none: a
// replay deletes its rows before it finishes.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("forget finished replays",
		`DELETE FROM fanmail.replays WHERE finished_at < now() - make_interval(secs => $1)`, Retention.Seconds())}
}
