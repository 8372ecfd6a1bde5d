package usage

import (
	"fmt"
	"math"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// The names of the quotas.
const (
	EventsPerDay = "events_per_day"
	BytesPerDay  = "bytes_per_day"
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

// OverError says which quota of a day is used up.
type OverError struct {
	Quota string // [EventsPerDay], [BytesPerDay] or [ChangesPerDay]
	Limit int64
}

// Error names the quota and its limit.
func (e *OverError) Error() string {
	what := fmt.Sprintf("create %d events", e.Limit)
	switch e.Quota {
	case BytesPerDay:
		what = fmt.Sprintf("send %d bytes of events", e.Limit)
	case ChangesPerDay:
		what = fmt.Sprintf("create %d keys, agents, webhooks and domains", e.Limit)
	}
	return fmt.Sprintf("quota %s: this tenant may %s on a UTC day, which are used up; the operator can change it", e.Quota, what)
}

// over returns an [*OverError] if more does not fit beside used.
func over(used, more Amount, quota tenancy.Quota) error {
	quota = quota.Or(tenancy.DefaultQuota())
	switch {
	case sum(used.Events, more.Events) > quota.EventsPerDay:
		return &OverError{EventsPerDay, quota.EventsPerDay}
	case sum(used.Bytes, more.Bytes) > quota.BytesPerDay:
		return &OverError{BytesPerDay, quota.BytesPerDay}
	}
	return nil
}
