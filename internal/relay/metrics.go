package relay

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/fanmail-dev/fanmail/outbox"
)

// The values of labels.
const (
	turnFirst, turnAgain       = "first", "again"
	partyDatabase, partyBroker = "database", "broker"
)

type metrics struct {
	published *prometheus.CounterVec
	failures  *prometheus.CounterVec
	batch     prometheus.Histogram
	lag       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_outbox_published_total", Help: "Events published to the broker, by turn: first, or again if the event was not fanned out in time.",
		}, []string{"turn"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_outbox_failures_total", Help: "Rounds of the relay that failed, by the failing party: database, broker.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_batch_events", Help: "Events in a round of the relay.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_lag_seconds", Help: "Time from an event's creation to its first publication.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
	}
	// rate() misses the first increment of a series that begins with it.
	for _, turn := range []string{turnFirst, turnAgain} {
		m.published.WithLabelValues(turn)
	}
	for _, party := range []string{partyDatabase, partyBroker} {
		m.failures.WithLabelValues(party)
	}
	return m
}

// backlog is a collector that reads the age of the oldest unpublished event at
// each scrape. If the database does not answer, it gives no sample.
type backlog struct {
	pool   *pgxpool.Pool
	oldest *prometheus.Desc
}

func newBacklog(pool *pgxpool.Pool) *backlog {
	return &backlog{pool, prometheus.NewDesc("fanmail_outbox_oldest_due_seconds",
		"Age of an event that waits to be published, as a rule the oldest; 0 if there is none.", nil, nil)}
}

// Describe sends the one metric.
func (b *backlog) Describe(c chan<- *prometheus.Desc) { c <- b.oldest }

// Collect asks the database, for at most 2 s.
func (b *backlog) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Second, errors.New("the outbox did not answer within 2 s"))
	defer cancel()
	if age, err := outbox.OldestDue(ctx, b.pool); err == nil {
		c <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, age.Seconds())
	}
}
