package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
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

// dailyRoom returns a 429 if the tenant may send no event of that size today.
func (s *server) dailyRoom(ctx context.Context, size int) error {
	q := s.quotaOf(ctx)
	have, err := s.usage.of(ctx, tenant(ctx))
	if err != nil {
		return err
	}
	if have.events >= q.EventsPerDay {
		return s.overQuota("events_per_day", http.StatusTooManyRequests, "this tenant may create %d events on a UTC day", q.EventsPerDay)
	}
	if have.bytes+int64(size) > q.BytesPerDay {
		return s.overQuota("bytes_per_day", http.StatusTooManyRequests, "this tenant may send %d bytes of events on a UTC day", q.BytesPerDay)
	}
	return nil
}
