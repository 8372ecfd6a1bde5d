package capacity

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The limits are written down a second time in this package, which needs no
// engine. They must agree with the code's.
func TestLimitsAreTheCodes(t *testing.T) {
	t.Parallel()
	require.Equal(t, events.Partitions, Partitions)
	require.Equal(t, subscribers.MaxAttempts, maxAttempts)
	require.Equal(t, subscribers.DefaultMaxInFlight, webhookInFlight)
}
