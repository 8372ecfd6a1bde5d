package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// clock is the database's clock, which can step. The other processes use the machine's clock.
type clock struct {
	file    string
	library string
}

// newClock finds libfaketime. The error means that the machine does not have it.
func newClock(dir string) (*clock, error) {
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			c := &clock{file: filepath.Join(dir, "clock"), library: found[0]}
			return c, c.step(0)
		}
	}
	return nil, fmt.Errorf("this machine has no libfaketime (Debian's package of that name)")
}

// env makes a program use this clock. It reads the offset once a second. Its monotonic clock does not
// change.
func (c *clock) env() []string {
	return []string{
		"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.file, "FAKETIME_CACHE_DURATION=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DISABLE_SHM=1", "NO_FAKE_STAT=1",
	}
}

// step sets the clock's offset from the machine's clock.
func (c *clock) step(d time.Duration) error {
	next := c.file + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+d\n", int(d.Seconds())), 0o644); err != nil { //nolint:gosec // for Postgres's user
		return fmt.Errorf("step the clock: %w", err)
	}
	return os.Rename(next, c.file)
}
