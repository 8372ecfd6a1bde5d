package dispatch

import (
	"sync/atomic"
	"time"

	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

// clock estimates the database's time from samples of it, by this process's
// monotonic clock. The zero value has no sample: its database's time is that
// of 1970.
type clock struct{ last atomic.Pointer[sample] }

// sample is one reading of the database's clock.
type sample struct {
	db             int64     // Unix microseconds
	sent, received time.Time // just before and just after it was taken
	wall           time.Time // sent, by the wall clock alone
}

// observe takes a sample: sent is when the database was asked, db its answer.
func (c *clock) observe(sent time.Time, db time.Time) {
	c.last.Store(&sample{db: db.UnixMicro(), sent: sent, received: time.Now(), wall: sent.Round(0)})
}

// now reads both clocks.
func (c *clock) now() scheduler.Now {
	at, s := time.Now(), c.last.Load()
	if s == nil {
		return scheduler.Now{Time: at}
	}
	// The monotonic clock stands still while the machine is suspended.
	most := max(at.Sub(s.sent), at.Round(0).Sub(s.wall))
	return scheduler.Now{
		Time: at, Earliest: s.db + at.Sub(s.received).Microseconds(), Latest: s.db + most.Microseconds(),
	}
}

// latest is the most that the database's clock can show, in Unix microseconds.
func (c *clock) latest() int64 { return c.now().Latest }
