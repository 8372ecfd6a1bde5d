package usage

import (
	"fmt"
	"math"
	"time"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// The names of the quotas.
const (
	EventsPerDay = "events_per_day"
	// EventsPerSecond holds in each process; see [Counter.ReservePaced].
	EventsPerSecond = "events_per_second"
	BytesPerDay     = "bytes_per_day"
	// ChangesPerDay counts in the transaction of each change; see [CountChange].
	ChangesPerDay = "changes_per_day"
)

// Amount is what a tenant uses. Neither number is negative.
type Amount struct {
	Events int64
	Bytes  int64 // of requests, messages and mails, as they came
}

// plus adds without overflow.
func (a Amount) plus(b Amount) Amount {
	return Amount{sum(a.Events, b.Events), sum(a.Bytes, b.Bytes)}
}

func (a Amount) minus(b Amount) Amount { return Amount{a.Events - b.Events, a.Bytes - b.Bytes} }

func sum(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// burst is how many seconds' events may come at once.
const burst = 2

// OverError says which quota is used up.
type OverError struct {
	Quota string // [EventsPerDay], [EventsPerSecond], [BytesPerDay] or [ChangesPerDay]
	Limit int64
	// Wait is until there is room again; zero: until the next UTC day.
	Wait time.Duration
}

// Error names the quota and its limit.
func (e *OverError) Error() string {
	if e.Quota == EventsPerSecond {
		return fmt.Sprintf("quota %s: this tenant may create %d events a second, and %d at once; the operator can change it", e.Quota, e.Limit, burst*e.Limit)
	}
	what := fmt.Sprintf("create %d events", e.Limit)
	switch e.Quota {
	case BytesPerDay:
		what = fmt.Sprintf("send %d bytes of events", e.Limit)
	case ChangesPerDay:
		what = fmt.Sprintf("make %d changes", e.Limit)
	}
	return fmt.Sprintf("quota %s: this tenant may %s on a UTC day, which are used up; the operator can change it", e.Quota, what)
}

// over returns an [*OverError] if more does not fit beside used.
func over(used, more Amount, quota tenancy.Quota) error {
	quota = quota.Or(tenancy.DefaultQuota())
	switch {
	case sum(used.Events, more.Events) > quota.EventsPerDay:
		return &OverError{Quota: EventsPerDay, Limit: quota.EventsPerDay}
	case sum(used.Bytes, more.Bytes) > quota.BytesPerDay:
		return &OverError{Quota: BytesPerDay, Limit: quota.BytesPerDay}
	}
	return nil
}
