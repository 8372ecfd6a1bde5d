package api

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// maxRates bounds the keys that are remembered; past it, those are forgotten
// that have their whole burst again, which changes nothing for them.
const maxRates = 10_000

// rates count the requests of each key.
type rates struct {
	server int // requests a second of a key; 0: no limit

	mu    sync.Mutex
	byKey map[events.APIKeyID]*rate.Limiter
}

func newRates(server int) *rates {
	return &rates{server: server, byKey: map[events.APIKeyID]*rate.Limiter{}}
}

// standing is how a key stands after a request.
type standing struct {
	limit     int           // a second; 0: no limit
	remaining int           // requests that would pass now
	full      time.Duration // until the whole burst is there again
	wait      time.Duration // until the next request passes; 0: this one did
}

// burst is how many requests may come at once: two seconds' worth.
func burst(limit int) int { return 2 * limit }

// take counts a request.
func (r *rates) take(p *tenancy.Principal, now time.Time) standing {
	limit := p.RateLimit
	if r.server > 0 && (limit == 0 || limit > r.server) {
		limit = r.server
	}
	if limit == 0 {
		return standing{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.byKey[p.KeyID]
	if l == nil {
		if len(r.byKey) >= maxRates {
			r.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(limit), burst(limit))
		r.byKey[p.KeyID] = l
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

func (r *rates) forget(now time.Time) {
	for id, l := range r.byKey {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(r.byKey, id)
		}
	}
}

// seconds rounds up to what the headers count in, one at least.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(int(math.Ceil(d.Seconds())), 1))
}

// throttle refuses what is over the key's rate limit, and tells every answer
// how the key stands.
func (s *server) throttle(ctx huma.Context, next func(huma.Context)) {
	at := s.rates.take(caller(ctx.Context()), time.Now())
	if at.limit == 0 {
		next(ctx)
		return
	}
	ctx.SetHeader("RateLimit-Limit", strconv.Itoa(burst(at.limit)))
	ctx.SetHeader("RateLimit-Remaining", strconv.Itoa(at.remaining))
	ctx.SetHeader("RateLimit-Reset", seconds(at.full))
	if at.wait == 0 {
		next(ctx)
		return
	}
	s.metrics.limited.Inc()
	ctx.SetHeader("Retry-After", seconds(at.wait))
	_ = huma.WriteErr(s.api, ctx, http.StatusTooManyRequests,
		fmt.Sprintf("this key may make %d requests a second, and %d at once; try again in %s s", at.limit, burst(at.limit), seconds(at.wait)))
}
