package dispatch

import "github.com/fanmail-dev/fanmail/internal/retention"

// RetentionRules are the rules for the tables of this package: dispatchers that
// have been dead for an hour are forgotten.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("forget dead dispatchers",
		`DELETE FROM fanmail.dispatchers WHERE alive_until < now() - interval '1 hour'`)}
}
