package capacity

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// This package repeats the limits so that it does not import the engine. They
// must be equal to the engine's.
func TestLimitsAreTheCodes(t *testing.T) {
	t.Parallel()
	require.Equal(t, events.Partitions, Partitions)
	require.Equal(t, subscribers.MaxAttempts, maxAttempts)
	require.Equal(t, subscribers.DefaultMaxInFlight, webhookInFlight)
}
