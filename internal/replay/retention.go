package replay

import (
	"time"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long a finished replay can be read.
const Retention = 30 * 24 * time.Hour

// RetentionRules are the rules for replays. Its rows of replay_deliveries are gone
// when a replay has finished.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("forget finished replays",
		`DELETE FROM fanmail.replays WHERE finished_at < now() - make_interval(secs => $1)`, Retention.Seconds())}
}
