package app

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
)

// ballastBytes is a part of the heap that is never read or written: it takes
// address space and no memory. The garbage collector starts when the heap has
// doubled. A process that holds 10 MiB and allocates 300 MiB/s collects thirty
// times a second without the ballast, four times with it.
const ballastBytes = 64 << 20

// tuneMemory sets the memory limit from the container's limit and allocates the
// ballast. GOGC and GOMEMLIMIT of the operator take precedence. The ballast stays
// until release is called.
func tuneMemory(log *zap.Logger) (release func()) {
	limit, err := memlimit.Set()
	if err != nil {
		log.Warn("the container's memory limit can't be read; the collector goes without it", zap.Error(err))
	}
	size := ballastSize(limit)
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			size = 0
		}
	}
	log.Debug("memory", zap.Int64("limit_bytes", debug.SetMemoryLimit(-1)), zap.Int("ballast_bytes", size))
	ballast := make([]byte, size)
	giveBack(ballast) // where it overlaps memory that was used before, Go has written zeros to all of it
	return func() { runtime.KeepAlive(ballast) }
}

// ballastSize is [ballastBytes], or an eighth of a smaller limit: the limit counts
// the ballast although it takes no memory.
func ballastSize(limit int64) int { return int(min(ballastBytes, limit/8)) }
