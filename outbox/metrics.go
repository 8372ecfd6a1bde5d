package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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
			Name: "fanmail_outbox_published_total", Help: "Events published to the broker, by turn: first, or again because it was not fanned out in time.",
		}, []string{"turn"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_outbox_failures_total", Help: "Rounds of the relay that failed, by the party that failed: database, broker.",
		}, []string{"party"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_batch_events", Help: "Events in a round of the relay.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outbox_lag_seconds", Help: "From an event's creation to its first publication.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
	}
	// A series that begins with its first event hides that one from rate().
	for _, turn := range []string{turnFirst, turnAgain} {
		m.published.WithLabelValues(turn)
	}
	for _, party := range []string{partyDatabase, partyBroker} {
		m.failures.WithLabelValues(party)
	}
	return m
}

// backlog asks the database, at each scrape, for the event that has waited for
// its publication the longest. Where it does not answer there is no sample.
type backlog struct {
	pool   *pgxpool.Pool
	oldest *prometheus.Desc
}

func newBacklog(pool *pgxpool.Pool) *backlog {
	return &backlog{pool, prometheus.NewDesc("fanmail_outbox_oldest_due_seconds",
		"Age of an event that waits for its publication, the oldest as a rule; 0 where none does.", nil, nil)}
}

// Describe gives the one metric.
func (b *backlog) Describe(c chan<- *prometheus.Desc) { c <- b.oldest }

// The first of the index: rows never published stand before all others.
const oldestDue = `SELECT coalesce((
	SELECT extract(epoch FROM clock_timestamp() - created_at) FROM fanmail.outbox WHERE leased_until <= now() ORDER BY leased_until, seq LIMIT 1), 0)::float8`

// Collect asks.
func (b *backlog) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Second, errors.New("the outbox gave no answer within 2 s"))
	defer cancel()
	var age float64
	if b.pool.QueryRow(ctx, oldestDue).Scan(&age) == nil {
		c <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, max(age, 0))
	}
}
