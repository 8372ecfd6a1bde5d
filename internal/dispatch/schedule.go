package dispatch

import (
	"math/rand/v2"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// schedule is the time before each attempt, from the one before it: attempts
// at 0, +1 m, +5 m, +15 m, +1 h, +4 h, +8 h and +16 h.
var schedule = [subscribers.MaxAttempts]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
}

const jitter = 0.10

// retryDelay is the time to the next attempt, from the number of attempts that
// the row has had. A row that was retried by hand has MaxAttempts more to go
// and begins the schedule anew. retryAfter, where positive, is what the
// endpoint asked for, and is heeded up to a day.
func retryDelay(attempts, maxAttempts int, retryAfter time.Duration) time.Duration {
	position := attempts - (maxAttempts - subscribers.MaxAttempts)
	position = min(max(position, 1), len(schedule)-1)
	d := schedule[position]
	d += time.Duration(float64(d) * jitter * (2*rand.Float64() - 1))
	if retryAfter > 0 {
		d = max(d, min(retryAfter, attempt.MaxRetryAfter))
	}
	return d
}
