package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/fanmail-dev/fanmail/internal/attempt"
)

type metrics struct {
	attempts      *prometheus.CounterVec
	duration      prometheus.Histogram
	lag           prometheus.Histogram
	parked        prometheus.Counter
	swept         prometheus.Counter
	expired       prometheus.Counter
	stale         prometheus.Counter
	duplicates    prometheus.Counter
	ledgerSeconds prometheus.Histogram
	ledgerRows    prometheus.Histogram
	moves         *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, d *Dispatcher) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, v func(*scheduler) float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			d.sched.mu.Lock()
			defer d.sched.mu.Unlock()
			return v(d.sched)
		})
	}
	gauge("fanmail_dispatch_lanes", "Lanes in memory.", func(s *scheduler) float64 { return float64(len(s.lanes)) })
	gauge("fanmail_dispatch_in_flight", "Attempts on the wire.", func(s *scheduler) float64 { return float64(s.inFlight) })
	gauge("fanmail_dispatch_queued", "Deliveries waiting in lanes.", func(s *scheduler) float64 { return float64(s.queued) })
	gauge("fanmail_dispatch_breakers_open", "Lanes whose breaker is open.", func(s *scheduler) float64 { return float64(s.breakers) })
	gauge("fanmail_dispatch_oldest_due_seconds", "How long the oldest delivery that could go has been due; lanes that rest, are disabled or have their breaker open do not count.", func(s *scheduler) float64 {
		return s.oldestDue().Seconds()
	})
	gauge("fanmail_dispatch_owned_partitions", "Partitions that this process owns.", func(s *scheduler) float64 {
		n := 0
		for _, own := range s.owned {
			if own {
				n++
			}
		}
		return float64(n)
	})
	m := &metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_dispatch_attempts_total", Help: "Attempts, by how they ended.",
		}, []string{"reason"}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_dispatch_attempt_seconds", Help: "Duration of attempts.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_dispatch_first_attempt_lag_seconds", Help: "From an event's creation to the start of the first attempt of its deliveries.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}),
		parked: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_dispatch_released_total", Help: "Deliveries given back to the table, or left there at birth, since their lane had no room.",
		}),
		swept: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_dispatch_fetched_total", Help: "Due rows leased from the table.",
		}),
		expired: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_dispatch_expired_messages_total", Help: "Deliveries dropped from messages because their lease had run out; the sweep takes them.",
		}),
		stale: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_dispatch_stale_outcomes_total", Help: "Outcomes that changed nothing, because the row had moved on.",
		}),
		duplicates: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_dispatch_duplicate_messages_total", Help: "Deliveries dropped because they were held already.",
		}),
		ledgerSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outcome_commit_seconds", Help: "Duration of the ledger's commits.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		ledgerRows: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_outcome_commit_rows", Help: "Rows in a commit of the ledger.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		moves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_dispatch_partition_moves_total", Help: "Partitions that changed hands, by what happened: claimed, released, lost.",
		}, []string{"move"}),
	}
	// A series that begins with its first event hides that one from rate().
	for _, reason := range attempt.Reasons() {
		m.attempts.WithLabelValues(reason)
	}
	for _, move := range []string{"claimed", "released", "lost"} {
		m.moves.WithLabelValues(move)
	}
	return m
}
