package agentwebhook

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
	lag      prometheus.Histogram
	ended    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *slots) *metrics {
	f := promauto.With(reg)
	for pool, used := range map[string]func() int{
		"fast": func() int { n, _ := s.count(); return n },
		"slow": func() int { _, n := s.count(); return n },
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fanmail_agent_webhook_in_flight", Help: "Attempts in flight to the agents' own webhooks, by pool of slots.",
			ConstLabels: prometheus.Labels{"pool": pool},
		}, func() float64 { return float64(used()) })
	}
	return &metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_agent_webhook_attempts_total", Help: "Attempts to the agents' own webhooks, by reason of the result.",
		}, []string{"reason"}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_agent_webhook_attempt_seconds", Help: "Duration of attempts to the agents' own webhooks.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_agent_webhook_first_attempt_lag_seconds", Help: "Time from the acceptance of a mail to the first attempt to its agent's own webhook, by this machine's clock.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}),
		ended: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_agent_webhook_deliveries_total", Help: "Deliveries to the agents' own webhooks that ended, by status: delivered, failed, expired.",
		}, []string{"status"}),
	}
}
