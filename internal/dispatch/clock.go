package dispatch

import (
	"sync"
	"time"
)

// clock reckons the database's time from samples of it, by this process's
// monotonic clock. Times are Unix microseconds.
type clock struct {
	mu       sync.Mutex
	db       int64
	sent, at time.Time // just before and just after the sample was taken
}

func (c *clock) observe(sent time.Time, db time.Time) {
	c.mu.Lock()
	c.db, c.sent, c.at = db.UnixMicro(), sent, time.Now()
	c.mu.Unlock()
}

// latest is the most that the database's clock can say now.
func (c *clock) latest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.db + time.Since(c.sent).Microseconds()
}

// until is how long it is, at most, until the database's clock says t.
func (c *clock) until(t int64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(t-c.db)*time.Microsecond - time.Since(c.at)
}
