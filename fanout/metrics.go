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
			Name: "fanmail_fanout_events_total", Help: "Event messages taken, by what became of them: fanned_out, already, malformed.",
		}, []string{"result"}),
		deliveries: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_fanout_deliveries_total", Help: "Delivery rows made.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_failures_total", Help: "Batches that failed, by the party that failed: database, broker.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_fanout_batch_events", Help: "Events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
	}
	// A series that begins with its first event hides that one from rate().
	for _, result := range []string{resultFannedOut, resultAlready, resultMalformed} {
		m.events.WithLabelValues(result)
	}
	for _, party := range []string{partyDatabase, partyBroker} {
		m.failures.WithLabelValues(party)
	}
	return m
}
