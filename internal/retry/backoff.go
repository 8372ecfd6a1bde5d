package retry

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// MaxAttempts is how many attempts a delivery gets by default. A manual retry adds
	// as many again.
	MaxAttempts = 8
	// Most is the most attempts that a delivery has, with those of all its retries on request.
	Most = 32_767
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

// BackOff returns the waits before the second and each later attempt, with jitter. It
// then returns [backoff.Stop].
func (p *Policy) BackOff() backoff.BackOff {
	switch {
	case p == nil:
		return &list{delays: schedule[1:], jitter: jitter}
	case p.Type == List:
		return &list{delays: p.Delays, jitter: p.jitter()}
	case p.Attempts <= 1: // to [backoff.WithMaxRetries], zero retries mean no limit
		return &backoff.StopBackOff{}
	}
	return backoff.WithMaxRetries(backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.Initial), backoff.WithMultiplier(p.Factor), backoff.WithMaxInterval(p.Max),
		backoff.WithRandomizationFactor(p.jitter()), backoff.WithMaxElapsedTime(0),
	), uint64(p.Attempts-1))
}

func (p *Policy) jitter() float64 {
	if p == nil || p.Jitter == nil {
		return jitter
	}
	return *p.Jitter
}

// Count is the number of attempts of a delivery, with the first.
func (p *Policy) Count() int {
	switch {
	case p == nil:
		return MaxAttempts
	case p.Type == List:
		return len(p.Delays) + 1
	}
	return p.Attempts
}

// Delay is the wait before a delivery's next attempt: attempts is how many were made,
// maxAttempts how many the delivery may have. A delivery that may have more than the
// policy's was retried by hand, and starts the schedule anew with the attempts that
// were added. A positive retryAfter is a lower bound, up to [MaxRetryAfter].
func (p *Policy) Delay(attempts, maxAttempts int, retryAfter time.Duration) time.Duration {
	position := attempts - max(0, maxAttempts-p.Count())
	position = min(max(position, 1), p.Count()-1)
	b, d := p.BackOff(), MinDelay // where the policy has a single attempt
	for range position {
		if next := b.NextBackOff(); next != backoff.Stop {
			d = next
		}
	}
	return max(d, min(retryAfter, MaxRetryAfter))
}

// list is a fixed list of waits.
type list struct {
	delays []time.Duration
	jitter float64
	at     int
}

// NextBackOff implements [backoff.BackOff].
func (l *list) NextBackOff() time.Duration {
	if l.at >= len(l.delays) {
		return backoff.Stop
	}
	d := l.delays[l.at]
	l.at++
	return d + time.Duration(float64(d)*l.jitter*(2*rand.Float64()-1))
}

// Reset implements [backoff.BackOff].
func (l *list) Reset() { l.at = 0 }
