package replay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	events     *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	running    prometheus.Gauge
	failures   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_replay_events_total", Help: "Events that replays have read, by source: jetstream, postgres.",
		}, []string{"source"}),
		deliveries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_replay_deliveries_total", Help: "Pairs of event and webhook, by outcome: created (a delivery was inserted), already_delivered (nothing to send), delivered, failed.",
		}, []string{"outcome"}),
		running: f.NewGauge(prometheus.GaugeOpts{
			Name: "fanmail_replay_running", Help: "Replays that this process is working on.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_replay_failures_total", Help: "Failed steps of replays, by the party that failed: database, broker. A failed step is repeated.",
		}, []string{"party"}),
	}
	// Create every series at zero, so that the first increment shows in a rate.
	for _, source := range []string{"jetstream", "postgres"} {
		m.events.WithLabelValues(source)
	}
	for _, outcome := range []string{"created", "already_delivered", "delivered", "failed"} {
		m.deliveries.WithLabelValues(outcome)
	}
	for _, party := range []string{"database", "broker"} {
		m.failures.WithLabelValues(party)
	}
	return m
}
