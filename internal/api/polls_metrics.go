package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// pollMetrics are about the webhooks of kind pull.
type pollMetrics struct {
	polled  prometheus.Counter
	expired prometheus.Counter
	acked   *prometheus.CounterVec
	waiting prometheus.Gauge
}

func newPollMetrics() *pollMetrics {
	m := &pollMetrics{
		polled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_api_polled_deliveries_total",
			Help: "Deliveries leased to polls.",
		}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_api_expired_leases_total",
			Help: "Leases of polled deliveries that ran out without an acknowledgement, counted when the delivery is polled again.",
		}),
		acked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_api_acknowledged_deliveries_total",
			Help: "Polled deliveries that consumers acknowledged, by what became of them.",
		}, []string{"outcome"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fanmail_api_waiting_polls",
			Help: "Polls that wait for a delivery.",
		}),
	}
	m.acknowledged(subscribers.AckResult{}) // rate() misses the first event of a series that begins with it
	return m
}

func (m *pollMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.polled, m.expired, m.acked, m.waiting}
}

// leased counts the response to a poll.
func (m *pollMetrics) leased(list []subscribers.Polled) {
	m.polled.Add(float64(len(list)))
	for i := range list {
		if list[i].PolledBefore {
			m.expired.Inc()
		}
	}
}

// acknowledged counts a response to an acknowledgement.
func (m *pollMetrics) acknowledged(r subscribers.AckResult) {
	for outcome, n := range map[string]int{"delivered": r.Delivered, "failed": r.Failed, "released": r.Released, "unchanged": r.Unchanged} {
		m.acked.WithLabelValues(outcome).Add(float64(n))
	}
}
