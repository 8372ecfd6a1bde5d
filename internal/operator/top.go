package operator

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxTops bounds the answers that are kept.
const maxTops = 64

// Top returns who is most active, at most a second old; the order "backlog" at most five seconds.
func (v *View) Top(ctx context.Context, q Query) (*Top, error) {
	v.topsMu.Lock()
	k := v.tops[q]
	if k == nil {
		if len(v.tops) >= maxTops {
			clear(v.tops)
		}
		k = &kept[Top]{}
		v.tops[q] = k
	}
	v.topsMu.Unlock()
	age := keep
	if q.Order == activity.OrderBacklog {
		age = 5 * keep
	}
	return k.get(ctx, age, func(ctx context.Context) (*Top, error) { return v.readTop(ctx, q) })
}

func (v *View) readTop(ctx context.Context, q Query) (*Top, error) {
	request := activity.Request{By: q.By, Order: q.Order, Window: q.Window, Limit: activity.MostRows}
	a, err := v.ask(ctx, request)
	if err != nil {
		return nil, err
	}
	m := activity.Merge(a.answers, request)
	t := &Top{
		At: time.Now().UTC().Truncate(time.Millisecond), By: q.By, Order: q.Order, Window: q.Window,
		Complete: len(a.silent) == 0 && a.broker, Silent: append([]string{}, a.silent...), Data: []TopRow{},
	}
	behind, err := v.behind(ctx, q.By, &a, &m.Holding)
	if err != nil {
		return nil, err
	}
	for _, r := range m.Rows {
		t.Data = append(t.Data, TopRow{
			ID: r.Name, TenantID: r.Tenant, EventsPerSecond: r.Events, AttemptsPerSecond: r.Attempts, FailuresPerSecond: r.Failures,
			BytesPerSecond: r.Bytes, InFlight: r.InFlight,
		})
	}
	t.addBacklogs(behind)
	if q.Order == activity.OrderBacklog {
		slices.SortStableFunc(t.Data, byBacklog)
	}
	t.Data = t.Data[:min(len(t.Data), q.Limit)]
	return t, v.name(ctx, t)
}

// behindRow is the backlog of one row of a [Top].
type behindRow struct {
	id, tenant string
	TopBacklog
}

// behind returns those that are furthest behind.
func (v *View) behind(ctx context.Context, by string, a *asked, h *activity.Holding) ([]behindRow, error) {
	if by == activity.ByAgent {
		list, err := agentwebhook.CountLate(ctx, v.pool, activity.MostBehind)
		var out []behindRow
		for _, l := range list {
			out = append(out, behindRow{l.Agent, l.TenantID.String(), TopBacklog{l.Pending, l.More, &l.Oldest}})
		}
		return out, err
	}
	var ids []events.WebhookID
	for _, l := range h.Late {
		if id, err := events.Parse[events.WebhookKind](l.Webhook); err == nil {
			ids = append(ids, id)
		}
	}
	if len(a.silent) > 0 || !a.broker {
		more, err := subscribers.FindLate(ctx, v.pool, activity.MostBehind)
		if err != nil {
			return nil, err
		}
		for _, id := range more {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := subscribers.CountLate(ctx, v.pool, ids)
	if err != nil {
		return nil, err
	}
	return ofWebhooks(by, list), nil
}

// ofWebhooks are the webhooks' backlogs, or those of their tenants.
func ofWebhooks(by string, list []subscribers.Late) []behindRow {
	var out []behindRow
	for _, l := range list {
		if l.Pending == 0 {
			continue
		}
		row := behindRow{l.WebhookID.String(), l.TenantID.String(), TopBacklog{l.Pending, l.More, l.Oldest}}
		if by == activity.ByTenant {
			row.id = row.tenant
			if i := slices.IndexFunc(out, func(o behindRow) bool { return o.id == row.id }); i >= 0 {
				o := &out[i]
				o.Pending, o.More = o.Pending+row.Pending, o.More || row.More
				if row.Oldest != nil && (o.Oldest == nil || row.Oldest.Before(*o.Oldest)) {
					o.Oldest = row.Oldest
				}
				continue
			}
		}
		out = append(out, row)
	}
	return out
}

// addBacklogs gives the rows their backlogs, and adds rows for those that have nothing else.
func (t *Top) addBacklogs(behind []behindRow) {
	slices.SortFunc(behind, func(a, b behindRow) int { return cmp.Or(cmp.Compare(b.Pending, a.Pending), cmp.Compare(a.id, b.id)) })
	for i := range behind {
		b := &behind[i]
		at := slices.IndexFunc(t.Data, func(r TopRow) bool { return r.ID == b.id })
		if at < 0 {
			at = len(t.Data)
			t.Data = append(t.Data, TopRow{ID: b.id, TenantID: b.tenant})
		}
		t.Data[at].Backlog = &b.TopBacklog
	}
}

// byBacklog compares by pending deliveries, most first; equal ones by their oldest.
func byBacklog(a, b TopRow) int {
	switch {
	case a.Backlog == nil && b.Backlog == nil:
		return 0
	case a.Backlog == nil:
		return 1
	case b.Backlog == nil:
		return -1
	case a.Backlog.Pending != b.Backlog.Pending, a.Backlog.Oldest == nil, b.Backlog.Oldest == nil:
		return cmp.Compare(b.Backlog.Pending, a.Backlog.Pending)
	}
	return a.Backlog.Oldest.Compare(*b.Backlog.Oldest)
}

// name adds what people call the rows.
func (v *View) name(ctx context.Context, t *Top) error {
	var tenants []events.TenantID
	var hooks []events.WebhookID
	for i := range t.Data {
		if id, err := events.Parse[events.TenantKind](t.Data[i].TenantID); err == nil {
			tenants = append(tenants, id)
		}
		if id, err := events.Parse[events.WebhookKind](t.Data[i].ID); err == nil && t.By == activity.ByWebhook {
			hooks = append(hooks, id)
		}
	}
	names, err := tenancy.TenantNames(ctx, v.pool, tenants)
	if err != nil {
		return err
	}
	labels, err := subscribers.Labels(ctx, v.pool, hooks)
	if err != nil {
		return err
	}
	for i := range t.Data {
		r := &t.Data[i]
		if id, err := events.Parse[events.TenantKind](r.TenantID); err == nil {
			r.TenantName = names[id]
		}
		if id, err := events.Parse[events.WebhookKind](r.ID); err == nil {
			r.URL, r.Description = labels[id].URL, labels[id].Description
		}
	}
	return nil
}
