package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanmail-dev/fanmail/internal/activity"
)

// Metrics name a tenant that makes at least this part of a process's attempts or events, and at least
// so many a second. So they name five tenants at most, and none while nobody floods.
const (
	namedPart = 0.2
	namedRate = 1.0
)

// tenantRates collects the rates of the tenants that make most of them, and of all others together.
type tenantRates struct {
	lately           *activity.Recorder
	attempts, events *prometheus.Desc
}

func newTenantRates(lately *activity.Recorder) *tenantRates {
	const help = " a second in the last minute, of each tenant that makes a fifth of those of this process or more, and at least one a second; of all others together without a name."
	return &tenantRates{
		lately:   lately,
		attempts: prometheus.NewDesc("fanmail_dispatch_tenant_attempts_per_second", "Attempts"+help, []string{"tenant"}, nil),
		events:   prometheus.NewDesc("fanmail_dispatch_tenant_events_per_second", "Events fanned out"+help, []string{"tenant"}, nil),
	}
}

// Describe is for Prometheus.
func (t *tenantRates) Describe(ch chan<- *prometheus.Desc) {
	ch <- t.attempts
	ch <- t.events
}

// Collect is for Prometheus.
func (t *tenantRates) Collect(ch chan<- prometheus.Metric) {
	lately, seconds := t.lately.Lately()
	seconds = max(seconds, 1)
	rows := t.lately.Top(activity.Request{By: activity.ByTenant, Order: activity.OrderRate, Window: "1m", Limit: activity.MostRows})
	for _, m := range []struct {
		desc  *prometheus.Desc
		total float64
		of    func(*activity.Row) float64
	}{
		{t.attempts, float64(lately.Attempts) / seconds, func(r *activity.Row) float64 { return r.Attempts }},
		{t.events, float64(lately.Events) / seconds, func(r *activity.Row) float64 { return r.Events }},
	} {
		others := m.total
		for i := range rows {
			if n := m.of(&rows[i]); n >= namedRate && n > namedPart*m.total {
				others -= n
				ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, n, rows[i].Tenant)
			}
		}
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, max(others, 0), "")
	}
}
