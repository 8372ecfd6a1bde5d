package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	events     *prometheus.CounterVec
	deliveries prometheus.Counter
	failures   *prometheus.CounterVec
	batch      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_events_total", Help: "Event messages taken, by what became of them: fanned_out, already, malformed.",
		}, []string{"result"}),
		deliveries: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_fanout_deliveries_total", Help: "Delivery rows made.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_failures_total", Help: "Batches that failed, by the party that failed.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_fanout_batch_events", Help: "Events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
	}
}
