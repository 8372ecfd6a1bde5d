package app

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
)

// ballastBytes is heap that nobody reads or writes, so that it takes address
// space and no memory. The collector starts when the heap has doubled: without
// it a process that holds 10 MiB and allocates 300 MiB/s collects thirty times
// a second, with it four times.
const ballastBytes = 64 << 20

// tuneMemory takes the memory limit from the container's, and makes room for
// fewer collections. What the operator sets by GOGC or GOMEMLIMIT stands. The
// heap keeps its room until release is called.
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
	return func() { runtime.KeepAlive(ballast) }
}

// ballastSize is [ballastBytes], or an eighth of a limit that is smaller: the
// limit counts it although it takes nothing.
func ballastSize(limit int64) int { return int(min(ballastBytes, limit/8)) }
