package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// quotaValues are the limits of a quota, all of them set.
type quotaValues struct {
	RequestsPerSecond int64 `json:"requests_per_second" doc:"Requests a second of all keys together, counted by each process; 0: no limit."`
	EventStreams      int64 `json:"event_streams" doc:"Open tails, counted by each process."`
	Keys              int64 `json:"keys" doc:"Keys that are not revoked."`
	Agents            int64 `json:"agents"`
	Webhooks          int64 `json:"webhooks"`
	EventsPerSecond   int64 `json:"events_per_second" doc:"Events a second of requests and of mail, counted by each process, with bursts of twice as many."`
	EventsPerDay      int64 `json:"events_per_day" doc:"Events on a UTC day: of mail, of requests and of messages."`
	BytesPerDay       int64 `json:"bytes_per_day" doc:"Bytes of mails, bodies of POST /v1/events and messages on a UTC day. A mail counts once for each tenant."`
	ReplaysPerHour    int64 `json:"replays_per_hour" doc:"Replays created within an hour."`
	Domains           int64 `json:"domains" doc:"Domains, verified or not. One that is not verified is deleted after 7 days."`
	ChangesPerDay     int64 `json:"changes_per_day" doc:"Requests of the tenant's keys, members and portal links that the audit log has, on a UTC day. Deletions do not count, nor what counts as events."`
	EventDays         int64 `json:"event_days" doc:"For how many days events are kept."`
	DeliveryDays      int64 `json:"delivery_days" doc:"For how many days deliveries and their attempts are kept; not longer than events. A delivery that is still pending then fails as expired."`
	MailDays          int64 `json:"mail_days" doc:"For how many days messages and raw mail are kept."`
}

// quotaUse is what a tenant uses of its quota.
type quotaUse struct {
	EventStreams int64 `json:"event_streams" doc:"In the process that answers."`
	Keys         int64 `json:"keys"`
	Agents       int64 `json:"agents"`
	Webhooks     int64 `json:"webhooks"`
	EventsToday  int64 `json:"events_today" doc:"Events of all ways in. Those of the last seconds can be missing."`
	BytesToday   int64 `json:"bytes_today"`
	ReplaysHour  int64 `json:"replays_last_hour"`
	Domains      int64 `json:"domains"`
	ChangesToday int64 `json:"changes_today"`
}

// quota is the response of the quota's operations.
type quota struct {
	TenantID events.TenantID `json:"tenant_id"`
	Limits   quotaValues     `json:"limits" doc:"The limits that hold: those that the operator has set, else the server's defaults."`
	Set      []string        `json:"set" doc:"The names of the limits that the operator has set for this tenant."`
	Used     quotaUse        `json:"used"`
}

// quotaChange is the body of PATCH /v1/tenants/{id}/quota.
type quotaChange struct {
	RequestsPerSecond optional[int64] `json:"requests_per_second,omitempty" minimum:"1" maximum:"1000000" nullable:"true" doc:"null: the server's default."`
	EventStreams      optional[int64] `json:"event_streams,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	Keys              optional[int64] `json:"keys,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	Agents            optional[int64] `json:"agents,omitempty" minimum:"1" maximum:"1000000000" nullable:"true"`
	Webhooks          optional[int64] `json:"webhooks,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	EventsPerSecond   optional[int64] `json:"events_per_second,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	EventsPerDay      optional[int64] `json:"events_per_day,omitempty" minimum:"1" maximum:"1000000000000" nullable:"true"`
	BytesPerDay       optional[int64] `json:"bytes_per_day,omitempty" minimum:"1" maximum:"1000000000000000" nullable:"true"`
	ReplaysPerHour    optional[int64] `json:"replays_per_hour,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	Domains           optional[int64] `json:"domains,omitempty" minimum:"1" maximum:"1000000" nullable:"true"`
	ChangesPerDay     optional[int64] `json:"changes_per_day,omitempty" minimum:"1" maximum:"1000000000" nullable:"true"`
	EventDays         optional[int64] `json:"event_days,omitempty" minimum:"3" maximum:"365" nullable:"true" doc:"Not longer than the installation keeps events; null: as long."`
	DeliveryDays      optional[int64] `json:"delivery_days,omitempty" minimum:"3" maximum:"365" nullable:"true"`
	MailDays          optional[int64] `json:"mail_days,omitempty" minimum:"3" maximum:"365" nullable:"true"`
}

type tenantPath struct {
	ID events.TenantID `path:"id"`
}

type changeQuotaInput struct {
	ID   events.TenantID `path:"id"`
	Body quotaChange
}

func (s *server) quotaRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "get-quota", Method: http.MethodGet, Path: "/v1/tenants/{id}/quota", Summary: "Read a tenant's quota and its use",
		Description: "A tenant's key reads the quota of its own tenant.",
	}, s.getQuota)
	register(s, anybody, huma.Operation{
		OperationID: "change-quota", Method: http.MethodPatch, Path: "/v1/tenants/{id}/quota", Summary: "Change a tenant's quota",
		Description: "For operators. What the tenant has above a new limit stays. Requests, tails and events follow the change at once. Rows that are older than a new number of days are deleted within minutes, for good.",
	}, s.changeQuota)
}

// visible returns a 404 if the caller is of another tenant.
func visible(ctx context.Context, of events.TenantID) error {
	if me := caller(ctx); !me.Operator() && me.TenantID != of {
		return subscribers.ErrNotFound
	}
	return nil
}

// operatorOf returns an error if the caller is no operator: a 404 for another tenant's.
func operatorOf(ctx context.Context, tenant events.TenantID) error {
	if err := visible(ctx, tenant); err != nil {
		return err
	}
	if !caller(ctx).Operator() {
		return problem(http.StatusForbidden, "this operation needs an operator's key")
	}
	return nil
}

func (s *server) getQuota(ctx context.Context, in *tenantPath) (*body[quota], error) {
	if err := visible(ctx, in.ID); err != nil {
		return nil, err
	}
	set, err := tenancy.GetQuota(ctx, s.pool, in.ID)
	if err != nil {
		return nil, err
	}
	return s.showQuota(ctx, in.ID, set)
}

func (s *server) showQuota(ctx context.Context, of events.TenantID, set tenancy.Quota) (*body[quota], error) {
	out := quota{TenantID: of, Limits: quotaValues(set.Or(s.defaultQuota())), Set: []string{}}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"requests_per_second", set.RequestsPerSecond},
		{"event_streams", set.EventStreams},
		{"keys", set.Keys},
		{"agents", set.Agents},
		{"webhooks", set.Webhooks},
		{"events_per_second", set.EventsPerSecond},
		{"events_per_day", set.EventsPerDay},
		{"bytes_per_day", set.BytesPerDay},
		{"replays_per_hour", set.ReplaysPerHour},
		{"domains", set.Domains},
		{"changes_per_day", set.ChangesPerDay},
		{"event_days", set.EventDays},
		{"delivery_days", set.DeliveryDays},
		{"mail_days", set.MailDays},
	} {
		if f.value > 0 {
			out.Set = append(out.Set, f.name)
		}
	}
	var err error
	if out.Used.Keys, err = tenancy.CountKeys(ctx, s.pool, of); err != nil {
		return nil, err
	}
	if out.Used.Agents, err = mailbox.CountAgents(ctx, s.pool, of); err != nil {
		return nil, err
	}
	webhooks, err := s.store.Count(ctx, of)
	if err != nil {
		return nil, err
	}
	out.Used.Webhooks = int64(webhooks)
	if out.Used.ReplaysHour, err = s.replays.LastHour(ctx, of); err != nil {
		return nil, err
	}
	if out.Used.Domains, err = mailbox.CountDomains(ctx, s.pool, of); err != nil {
		return nil, err
	}
	if out.Used.ChangesToday, err = usage.Changes(ctx, s.pool, of); err != nil {
		return nil, err
	}
	today, err := s.usage.Today(ctx, of)
	if err != nil {
		return nil, err
	}
	out.Used.EventStreams, out.Used.EventsToday, out.Used.BytesToday = s.tails.count(of), today.Events, today.Bytes
	return reply(out), nil
}

// keptWithin returns an [*events.FieldError] for the first time that is longer than the installation's.
func (s *server) keptWithin(b *quotaChange) error {
	most := s.defaultQuota()
	for _, f := range []struct {
		name   string
		change optional[int64]
		most   int64
	}{{"event_days", b.EventDays, most.EventDays}, {"delivery_days", b.DeliveryDays, most.DeliveryDays}, {"mail_days", b.MailDays, most.MailDays}} {
		if f.change.value != nil && *f.change.value > f.most {
			return &events.FieldError{Field: f.name, Reason: fmt.Sprintf("is %d; the installation keeps them for %d days, and a tenant's time can only be shorter", *f.change.value, f.most)}
		}
	}
	return nil
}

func (s *server) changeQuota(ctx context.Context, in *changeQuotaInput) (*body[quota], error) {
	if err := operatorOf(ctx, in.ID); err != nil {
		return nil, err
	}
	var set tenancy.Quota
	err := s.change(ctx, func(u *unit) (err error) {
		if err := tenancy.Lock(ctx, u, in.ID); err != nil {
			return err
		}
		if set, err = tenancy.GetQuota(ctx, u, in.ID); err != nil {
			return err
		}
		u.was(quotaValues(set))
		b := &in.Body
		for _, f := range []struct {
			change optional[int64]
			to     *int64
		}{
			{b.RequestsPerSecond, &set.RequestsPerSecond},
			{b.EventStreams, &set.EventStreams},
			{b.Keys, &set.Keys},
			{b.Agents, &set.Agents},
			{b.Webhooks, &set.Webhooks},
			{b.EventsPerSecond, &set.EventsPerSecond},
			{b.EventsPerDay, &set.EventsPerDay},
			{b.BytesPerDay, &set.BytesPerDay},
			{b.ReplaysPerHour, &set.ReplaysPerHour},
			{b.Domains, &set.Domains},
			{b.ChangesPerDay, &set.ChangesPerDay},
			{b.EventDays, &set.EventDays},
			{b.DeliveryDays, &set.DeliveryDays},
			{b.MailDays, &set.MailDays},
		} {
			switch {
			case f.change.value != nil:
				*f.to = *f.change.value
			case f.change.Set:
				*f.to = 0
			}
		}
		if err := s.keptWithin(b); err != nil {
			return err
		}
		u.became(quotaValues(set))
		return tenancy.SetQuota(ctx, u, in.ID, set)
	})
	if err != nil {
		return nil, err
	}
	return s.showQuota(ctx, in.ID, set)
}
