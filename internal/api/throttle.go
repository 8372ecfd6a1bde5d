package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// throttle rejects a request above the rate limit of the key or of its tenant. The
// tenant's limit holds for all of its keys together, so that more keys make no more
// requests. Every response that a limit applies to has the RateLimit headers of the
// limit that is nearer.
func (s *server) throttle(ctx huma.Context, next func(huma.Context)) {
	me, now := caller(ctx.Context()), time.Now()
	limits := []struct {
		id    [16]byte
		limit int
		text  string
	}{
		{me.ID(), me.RateLimit, "this key may make"},
		{me.TenantID, int(s.quotaOf(ctx.Context()).RequestsPerSecond), "quota requests_per_second: with all its keys, this tenant may make"},
	}
	if me.Operator() {
		limits[1].id, limits[1].text = me.ID(), limits[0].text
		limits[1].limit = s.rateLimit
		if me.RateLimit > 0 && (s.rateLimit == 0 || me.RateLimit < s.rateLimit) {
			limits[1].limit = me.RateLimit
		}
		limits = limits[1:]
	}
	var nearest standing
	for _, l := range limits {
		at := s.rates.take(l.id, l.limit, now)
		if at.limit == 0 {
			continue
		}
		if nearest.limit == 0 || at.remaining < nearest.remaining || at.wait > 0 {
			nearest = at
		}
		if at.wait > 0 {
			s.metrics.limited.Inc()
			describeRate(ctx, nearest)
			ctx.SetHeader("Retry-After", seconds(at.wait))
			s.refuse(ctx, problem(http.StatusTooManyRequests, "%s %s; try again in %s s", l.text,
				fmt.Sprintf("%d requests a second, and %d at once", at.limit, burst(at.limit)), seconds(at.wait)))
			return
		}
	}
	if nearest.limit > 0 {
		describeRate(ctx, nearest)
	}
	next(ctx)
}

func describeRate(ctx huma.Context, at standing) {
	ctx.SetHeader("RateLimit-Limit", strconv.Itoa(burst(at.limit)))
	ctx.SetHeader("RateLimit-Remaining", strconv.Itoa(at.remaining))
	ctx.SetHeader("RateLimit-Reset", seconds(at.full))
}
