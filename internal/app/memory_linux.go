package app

import (
	"os"
	"syscall"
)

// giveBack takes the pages of b, which hold nothing, from the process until they are written again.
func giveBack(b []byte) {
	if whole := len(b) - len(b)%os.Getpagesize(); whole > 0 {
		// Failing costs memory and nothing else.
		_ = syscall.Madvise(b[:whole], syscall.MADV_DONTNEED)
	}
}
