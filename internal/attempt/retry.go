package attempt

import (
	"math/rand/v2"
	"time"
)

const (
	// MaxAttempts is how many attempts a delivery gets. A manual retry adds as
	// many again.
	MaxAttempts = 8
	// MaxRetryAfter is the longest wait that an endpoint can ask for.
	MaxRetryAfter = 24 * time.Hour
	// jitter spreads the waits, as a fraction of each to both sides, so that
	// deliveries that failed together do not return together.
	jitter = 0.10
)

// schedule is the wait before each attempt, counted from the one before it. The
// last attempt comes some 29 hours after the first.
var schedule = [MaxAttempts]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
}

// RetryDelay is the wait before a delivery's next attempt. It depends on the
// stored row alone, so that any process continues the schedule of any other:
// attempts is how many were made, maxAttempts how many the delivery may have. A
// row with more than [MaxAttempts] was retried by hand and starts the schedule
// anew. A positive retryAfter is a lower bound, up to [MaxRetryAfter].
func RetryDelay(attempts, maxAttempts int, retryAfter time.Duration) time.Duration {
	position := attempts - (maxAttempts - MaxAttempts)
	position = min(max(position, 1), len(schedule)-1)
	d := schedule[position]
	d += time.Duration(float64(d) * jitter * (2*rand.Float64() - 1))
	return max(d, min(retryAfter, MaxRetryAfter))
}
