package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The values of labels.
const (
	resultFannedOut, resultAlready, resultMalformed, resultForged = "fanned_out", "already", "malformed", "forged"
	partyDatabase, partyBroker                                    = "database", "broker"
)

type metrics struct {
	events     *prometheus.CounterVec
	deliveries prometheus.Counter
	past       prometheus.Counter
	failures   *prometheus.CounterVec
	batch      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, past, away func() bool) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, on func() bool) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if on() {
				return 1
			}
			return 0
		})
	}
	gauge("fanmail_fanout_past_broker", "1 while events are taken from the outbox, because the broker does not deliver them; else 0.", past)
	gauge("fanmail_fanout_messages_refused", "1 while the broker takes no delivery messages and their rows are due at once; else 0.", away)
	m := &metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_events_total", Help: "Events taken, by result: fanned_out, already (fanned out before), malformed, forged (published by no relay).",
		}, []string{"result"}),
		deliveries: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_fanout_deliveries_total", Help: "Delivery rows inserted.",
		}),
		past: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_fanout_past_broker_events_total", Help: "Events taken from the outbox, because the broker did not deliver them.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_fanout_failures_total", Help: "Batches that failed, by the failing party: database, broker.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_fanout_batch_events", Help: "Events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
	}
	// rate() misses the first increment of a series that begins with it.
	for _, result := range []string{resultFannedOut, resultAlready, resultMalformed, resultForged} {
		m.events.WithLabelValues(result)
	}
	for _, party := range []string{partyDatabase, partyBroker} {
		m.failures.WithLabelValues(party)
	}
	return m
}
