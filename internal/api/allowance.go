package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// defaultQuota is the quota of a tenant for which nothing is set, with the
// server's settings.
func (s *server) defaultQuota() tenancy.Quota {
	q := tenancy.DefaultQuota()
	q.RequestsPerSecond, q.Webhooks = int64(s.rateLimit), int64(s.limits.WebhooksPerTenant)
	return q
}

// quotaOf is the quota of the caller's tenant.
func (s *server) quotaOf(ctx context.Context) tenancy.Quota {
	return caller(ctx).Quota.Or(s.defaultQuota())
}

// overQuota is the response to a request above a limit, which it names.
func (s *server) overQuota(name string, status int, format string, args ...any) error {
	s.metrics.overQuota.WithLabelValues(name).Inc()
	return problem(status, "quota %s: %s, which are used up; the operator can change it", name, fmt.Sprintf(format, args...))
}

// room locks the tenant and returns a 409 if it has no room for one more of what
// count counts. The lock makes the count exact.
func (s *server) room(ctx context.Context, u *unit, of events.TenantID, name string, limit int64,
	count func(context.Context, *unit) (int64, error),
) error {
	if err := tenancy.Lock(ctx, u, of); err != nil {
		return err
	}
	have, err := count(ctx, u)
	if err != nil {
		return err
	}
	if have >= limit {
		return s.overQuota(name, http.StatusConflict, "this tenant may have %d %s", limit, name)
	}
	return nil
}

// reserve takes room for an event of that size on this day, or returns a 429.
func (s *server) reserve(ctx context.Context, size int) (*usage.Reservation, error) {
	within := s.quotaOf(ctx)
	r, err := s.usage.Reserve(ctx, tenant(ctx), &within, usage.Amount{Events: 1, Bytes: int64(size)})
	if over, ok := errors.AsType[*usage.OverError](err); ok {
		s.metrics.overQuota.WithLabelValues(over.Quota).Inc()
		return nil, problem(http.StatusTooManyRequests, "%s", over.Error())
	}
	return r, err
}
