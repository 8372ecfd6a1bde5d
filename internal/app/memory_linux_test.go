package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestTheBallastTakesNoMemory(t *testing.T) {
	use(4 * ballastBytes) // so that the ballast lies where memory was used before
	debug.FreeOSMemory()
	before := resident(t)
	release := tuneMemory(zap.NewNop())
	defer release()
	require.Less(t, resident(t)-before, ballastBytes/2)
}

// use makes n bytes of memory resident, and drops them.
func use(n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	runtime.KeepAlive(b)
}

// resident is the memory of this process, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}
