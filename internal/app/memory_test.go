package app

import (
	"math"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestBallastFitsTheLimit(t *testing.T) {
	t.Parallel()
	require.Equal(t, ballastBytes, ballastSize(math.MaxInt64), "no limit")
	require.Equal(t, ballastBytes, ballastSize(8*ballastBytes))
	require.Equal(t, 16<<20, ballastSize(128<<20))
}

func TestTheHeapHasRoom(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Setenv(name, "") // so that it is restored at the end
		require.NoError(t, os.Unsetenv(name))
	}
	release := tuneMemory(zap.NewNop())
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	release()
	require.GreaterOrEqual(t, m.NextGC, uint64(2*ballastBytes), "the next collection is far off")
	runtime.GC()
	runtime.ReadMemStats(&m)
	require.Less(t, m.NextGC, uint64(2*ballastBytes), "without it, it is not")

	t.Setenv("GOGC", "100")
	release = tuneMemory(zap.NewNop())
	runtime.GC()
	runtime.ReadMemStats(&m)
	release()
	require.Less(t, m.NextGC, uint64(2*ballastBytes), "the operator's setting stands")
}
