package outbox

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	published *prometheus.CounterVec
	failures  *prometheus.CounterVec
	batch     prometheus.Histogram
	lag       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_outbox_published_total", Help: "Events published to the broker, by whether it was for the first time.",
		}, []string{"turn"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_outbox_failures_total", Help: "Rounds of the relay that failed, by the party that failed.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_batch_events", Help: "Events in a round of the relay.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_lag_seconds", Help: "From an event's creation to its first publication.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
	}
}
