package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The values of labels.
const (
	resultFannedOut, resultAlready, resultMalformed = "fanned_out", "already", "malformed"
	partyDatabase, partyBroker                      = "database", "broker"
)

type metrics struct {
	events     *prometheus.CounterVec
	deliveries prometheus.Counter
	failures   *prometheus.CounterVec
	batch      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_events_total", Help: "Events taken, by result: fanned_out, already (fanned out before), malformed.",
		}, []string{"result"}),
		deliveries: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_fanout_deliveries_total", Help: "Delivery rows inserted.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_failures_total", Help: "Batches that failed, by the failing party: database, broker.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_fanout_batch_events", Help: "Events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
	}
	// rate() misses the first increment of a series that begins with it.
	for _, result := range []string{resultFannedOut, resultAlready, resultMalformed} {
		m.events.WithLabelValues(result)
	}
	for _, party := range []string{partyDatabase, partyBroker} {
		m.failures.WithLabelValues(party)
	}
	return m
}
