package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// throttle rejects a request above the key's rate limit. Every response of a
// limited key has the RateLimit headers.
func (s *server) throttle(ctx huma.Context, next func(huma.Context)) {
	key := caller(ctx.Context())
	at := s.rates.take(key.KeyID, key.RateLimit, time.Now())
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
	s.refuse(ctx, problem(http.StatusTooManyRequests, "this key may make %d requests a second, and %d at once; try again in %s s",
		at.limit, burst(at.limit), seconds(at.wait)))
}
