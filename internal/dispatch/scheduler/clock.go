package scheduler

import "time"

// Now is one moment on two clocks. The scheduler reads no clock: each input
// that depends on the time gets it as an argument.
type Now struct {
	// Time is the process's clock, with its monotonic reading.
	Time time.Time
	// Earliest and Latest bound what the database's clock shows, in Unix
	// microseconds. They differ by the round trip of the last comparison.
	Earliest, Latest int64
}

// until returns how long it takes at most until the database's clock shows at
// (Unix microseconds). It is zero or negative when that time has come.
func (n Now) until(at int64) time.Duration {
	return time.Duration(at-n.Earliest) * time.Microsecond
}
