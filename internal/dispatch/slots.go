package dispatch

import (
	"math"
	"runtime/debug"
	"syscall"
)

const (
	// mostSlots and leastSlots bound the default of Options.Slots.
	mostSlots  = 4096
	leastSlots = 64
	// slowSlotsPerSlot is how many slow slots come with a fast one, idlePerSlot
	// how many idle connections at most: half as many in each shard of hosts.
	slowSlotsPerSlot = 4
	idlePerSlot      = 8
	// Of the idle connections a quarter counts for the memory: few processes have
	// them all, and they have no buffers in use. For the file descriptors one a
	// slot counts: the idle ones are closed when the descriptors are short.
	connsPerSlot  = 1 + slowSlotsPerSlot + 1
	memoryPerSlot = (1 + slowSlotsPerSlot + idlePerSlot/4) * attemptBytes
	// attemptBytes is what an attempt in flight takes at most beside its
	// envelope: a TLS connection, its buffers and three goroutines.
	attemptBytes = 64 << 10
	// http2Bytes is what the headers of an answer take at most over HTTP/2 while they come.
	http2Bytes = 3 << 19
	// ownDescriptors are kept for the database, the broker and the like.
	ownDescriptors = 512
)

// defaultSlots returns the number of fast slots for which half of the memory
// limit (bytes) and the file descriptors suffice. Negative descriptors: the
// number is not known.
func defaultSlots(memory, descriptors int64) int {
	slots := min(mostSlots, memory/2/memoryPerSlot)
	if descriptors >= 0 {
		slots = min(slots, (descriptors-ownDescriptors)/connsPerSlot)
	}
	return int(max(leastSlots, slots))
}

// mostConns returns how many connections the file descriptors suffice for; 0:
// their number is not known.
func mostConns(descriptors int64) int {
	if descriptors < 0 {
		return 0
	}
	return int(max(leastSlots*connsPerSlot, descriptors-ownDescriptors))
}

// mostHTTP2Conns returns for how many connections an eighth of the memory suffices where
// each holds as much of an answer's headers as it may.
func mostHTTP2Conns(memory int64) int { return int(min(max(memory/8/http2Bytes, 16), 1024)) }

// processLimits returns the memory limit of the Go runtime and the limit of
// file descriptors, -1 where that can't be read.
func processLimits() (memory, descriptors int64) {
	memory, descriptors = debug.SetMemoryLimit(-1), -1
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		descriptors = int64(min(files.Cur, math.MaxInt64))
	}
	return memory, descriptors
}
