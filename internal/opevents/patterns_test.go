package opevents_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestAPatternAsksForOperationalEvents records a fact for each tenant whose webhooks select its type by whatever rule.
func TestAPatternAsksForOperationalEvents(t *testing.T) {
	t.Parallel()
	o := open(t)
	for pattern, want := range map[events.Type]int{"webhook.*": 1, "*": 1, "webhook.disabled": 1, "delivery.*": 0, "order.*": 0} {
		tenant := o.tenant(false)
		hook := o.webhook(tenant, events.EmailReceived)
		o.webhook(tenant, pattern)
		o.write(&subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
		require.Len(t, o.sent(tenant), want, pattern)
	}
}
