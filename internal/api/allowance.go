package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// defaultQuota is the quota of a tenant for which nothing is set, with the
// server's settings.
func (s *server) defaultQuota() tenancy.Quota {
	q := tenancy.DefaultQuota()
	q.RequestsPerSecond, q.Webhooks = int64(s.rateLimit), int64(s.limits.WebhooksPerTenant)
	for _, f := range []struct {
		days *int64
		kept time.Duration
	}{{&q.EventDays, s.kept.Events}, {&q.DeliveryDays, s.kept.Deliveries}, {&q.MailDays, s.kept.Mail}} {
		if f.kept > 0 {
			*f.days = int64(f.kept / (24 * time.Hour))
		}
	}
	return q
}

// quotaOf is the quota of the caller's tenant.
func (s *server) quotaOf(ctx context.Context) tenancy.Quota {
	return caller(ctx).Quota.Or(s.defaultQuota())
}

// overQuota is the response to a request above a limit, which it names.
func (s *server) overQuota(name string, status int, format string, args ...any) error {
	s.metrics.overQuota.WithLabelValues(name).Inc()
	err := problem(status, "quota %s: %s, which are used up; the operator can change it", name, fmt.Sprintf(format, args...))
	if status == http.StatusTooManyRequests { // what was counted ends by itself, some time
		return huma.ErrorWithHeaders(err, http.Header{"Retry-After": {"60"}})
	}
	return err
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

// changesOf is how many changes of the tenant's day the caller may use up. Those with a portal
// link are somebody else's people: they leave half of the day to the tenant.
func (s *server) changesOf(ctx context.Context) int64 {
	limit := s.quotaOf(ctx).ChangesPerDay
	if caller(ctx).Portal() {
		return limit / 2
	}
	return limit
}

// roomForChange returns a 429 where no change is left to the tenant's day. countChange decides.
func (s *server) roomForChange(ctx context.Context, u *unit) error {
	made, err := usage.Changes(ctx, u, tenant(ctx))
	if err != nil {
		return err
	}
	if limit := s.changesOf(ctx); made >= limit {
		return s.overDay(&usage.OverError{Quota: usage.ChangesPerDay, Limit: limit})
	}
	return nil
}

// countChange counts a change at the end of its transaction, so that others of the tenant
// wait for the commit alone. It returns a 429 above the quota.
func (s *server) countChange(ctx context.Context, u *unit) error {
	return s.overDay(usage.CountChange(ctx, u, tenant(ctx), s.changesOf(ctx)))
}

// overDay turns an [*usage.OverError] into a 429 that says when there is room again.
func (s *server) overDay(err error) error {
	if over, ok := errors.AsType[*usage.OverError](err); ok {
		s.metrics.overQuota.WithLabelValues(over.Quota).Inc()
		now := time.Now().UTC()
		left := over.Wait
		if left == 0 {
			left = now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now)
		}
		return huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "%s", over.Error()), http.Header{"Retry-After": {seconds(left)}})
	}
	return err
}

// spend is a transaction that uses at most so many events of the tenant's day, or a 429. f
// returns what it has used, which counts once the transaction is committed. It is a change
// of the day only where it has used no event.
func (s *server) spend(ctx context.Context, most usage.Amount, f func(u *unit) (usage.Amount, error)) error {
	within := s.quotaOf(ctx)
	reserved, err := s.usage.ReservePaced(ctx, tenant(ctx), &within, most)
	if err != nil {
		return s.overDay(err)
	}
	began := false
	defer func() {
		if !began {
			reserved.Settle(usage.Amount{})
		}
	}()
	return s.transact(ctx, func(u *unit) error {
		var used usage.Amount
		began = true
		u.ended = append(u.ended, func(committed bool) {
			if !committed {
				used = usage.Amount{}
			}
			reserved.Settle(used)
		})
		var err error
		used, err = f(u)
		u.events = used.Events > 0
		return err
	})
}
