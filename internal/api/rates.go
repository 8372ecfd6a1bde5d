package api

import (
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
)

// maxRates bounds the number of limiters in memory. Above it, limiters whose
// burst is full again are dropped: a new one would be equal.
const maxRates = 10_000

// rates holds one token bucket a key.
type rates struct {
	server int // requests a second of each key; 0: no limit

	mu    sync.Mutex
	byKey map[events.APIKeyID]*rate.Limiter
}

func newRates(server int) *rates {
	return &rates{server: server, byKey: map[events.APIKeyID]*rate.Limiter{}}
}

// standing is the state of a key's rate limit after a request.
type standing struct {
	limit     int           // requests a second; 0: no limit
	remaining int           // requests that would pass now
	full      time.Duration // until the burst is full again
	wait      time.Duration // until the next request passes; 0: this one passed
}

// burst is how many requests may come at once: those of two seconds.
func burst(limit int) int { return 2 * limit }

// take counts one request of a key. limit is the key's own, in requests a
// second; 0: only the server's limit applies.
func (r *rates) take(key events.APIKeyID, limit int, now time.Time) standing {
	if r.server > 0 && (limit == 0 || limit > r.server) {
		limit = r.server
	}
	if limit == 0 {
		return standing{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.byKey[key]
	if l == nil {
		if len(r.byKey) >= maxRates {
			r.dropFull(now)
		}
		l = rate.NewLimiter(rate.Limit(limit), burst(limit))
		r.byKey[key] = l
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
	for id, l := range r.byKey {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(r.byKey, id)
		}
	}
}

// seconds is a header's value: whole seconds, rounded up, at least 1.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(int(math.Ceil(d.Seconds())), 1))
}
