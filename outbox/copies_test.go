//go:build !race

package outbox_test

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Decoding copies the body once and encoding copies it once more. It is not parallel, because it counts the memory that
// the whole process allocates. The race detector empties pools at random, so the count is made without it.
func TestAnEventFromABodyIsCopiedTwice(t *testing.T) {
	tenant := events.NewRandom[events.TenantKind]()
	body := []byte(`{"type":"email.sent","data":{"text":"` + strings.Repeat("x", 200<<10) + `"},"idempotency_key":"k"}`)
	least := uint64(math.MaxUint64)
	for range 20 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ev, err := events.DecodeIntake(tenant, body)
		require.NoError(t, err)
		_, err = outbox.Prepare(ev)
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	require.Less(t, least, uint64(len(body))*5/2)
}
