package api

import (
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxRates bounds the number of limiters in memory. Above it, limiters whose
// burst is full again are dropped: a new one would be equal.
const maxRates = 10_000

// rates holds one token bucket for each tenant, and for each key with a limit of its
// own.
type rates struct {
	mu   sync.Mutex
	byID map[[16]byte]*rate.Limiter
}

func newRates() *rates { return &rates{byID: map[[16]byte]*rate.Limiter{}} }

// standing is the state of a rate limit after a request.
type standing struct {
	limit     int           // requests a second; 0: no limit
	remaining int           // requests that would pass now
	full      time.Duration // until the burst is full again
	wait      time.Duration // until the next request passes; 0: this one passed
}

// burst is how many requests may come at once: those of two seconds.
func burst(limit int) int { return 2 * limit }

// take counts one request of a tenant or a key. limit is in requests a second; 0: no
// limit.
func (r *rates) take(id [16]byte, limit int, now time.Time) standing {
	if limit == 0 {
		return standing{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.byID[id]
	if l == nil {
		if len(r.byID) >= maxRates {
			r.dropFull(now)
		}
		l = rate.NewLimiter(rate.Limit(limit), burst(limit))
		r.byID[id] = l
	}
	if l.Burst() != burst(limit) { // the operator has changed it
		l.SetLimitAt(now, rate.Limit(limit))
		l.SetBurstAt(now, burst(limit))
	}
	s := standing{limit: limit}
	passed := l.AllowN(now, 1)
	tokens := l.TokensAt(now)
	if !passed {
		s.wait = time.Duration((1 - tokens) / float64(limit) * float64(time.Second))
	}
	s.remaining = max(int(tokens), 0)
	s.full = time.Duration((float64(burst(limit)) - tokens) / float64(limit) * float64(time.Second))
	return s
}

func (r *rates) dropFull(now time.Time) {
	for id, l := range r.byID {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(r.byID, id)
		}
	}
}

// seconds is a header's value: whole seconds, rounded up, at least 1.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(int(math.Ceil(d.Seconds())), 1))
}
