package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanmail-dev/fanmail/internal/usage"
)

type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	limited   prometheus.Counter
	overQuota *prometheus.CounterVec
	polls     *pollMetrics
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_api_requests_total",
			Help: "Requests answered, by operation and class of status.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fanmail_api_request_seconds",
			Help:    "Time from a request's headers to the end of its response.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"operation"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_api_rate_limited_total",
			Help: "Requests rejected by the rate limit of a tenant or a key.",
		}),
		overQuota: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_api_over_quota_total",
			Help: "Requests rejected because the tenant's quota is used up, by limit. Requests a second are in fanmail_api_rate_limited_total.",
		}, []string{"quota"}),
		polls: newPollMetrics(),
	}
	// rate() misses the first refusal of a series that begins with it.
	for _, quota := range []string{
		"event_streams", "keys", "agents", "webhooks", usage.EventsPerSecond, usage.EventsPerDay, usage.BytesPerDay, "replays_per_hour", "domains", usage.ChangesPerDay,
	} {
		m.overQuota.WithLabelValues(quota)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range append(m.polls.collectors(), m.requests, m.seconds, m.limited, m.overQuota) {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts a request. operation is an operation id, or "none".
func (m *metrics) observe(operation string, status int, took time.Duration) {
	class := "none" // the client closed the connection before the response
	if status > 0 {
		class = strconv.Itoa(status/100) + "xx"
	}
	m.requests.WithLabelValues(operation, class).Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}
