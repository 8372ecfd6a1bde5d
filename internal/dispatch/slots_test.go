package dispatch

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/capacity"
)

func TestSlotsFollowMemoryAndFileDescriptors(t *testing.T) {
	t.Parallel()
	const files = 1 << 20
	require.Equal(t, mostSlots, defaultSlots(math.MaxInt64, files), "nothing is limited")
	require.Equal(t, mostSlots, defaultSlots(math.MaxInt64, -1), "the number of descriptors is not known")
	require.Equal(t, 2340, defaultSlots(2<<30, files), "2 GiB")
	require.Equal(t, 585, defaultSlots(512<<20, files), "512 MiB")
	require.Equal(t, 1280, defaultSlots(2<<30, 8192), "few descriptors")
	require.Equal(t, leastSlots, defaultSlots(2<<30, 256))
	require.Equal(t, leastSlots, defaultSlots(16<<20, files))
	memory, descriptors := processLimits()
	require.Positive(t, memory)
	require.Positive(t, descriptors)
}

func TestTheCapacityPlanCountsOnTheseSlots(t *testing.T) {
	t.Parallel()
	for _, memory := range []int64{1, 100 << 20, 512 << 20, 2 << 30, 100 << 30} {
		require.Equal(t, defaultSlots(memory, -1), capacity.Slots(memory))
	}
}
