package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

type metrics struct {
	attempts      *prometheus.CounterVec
	duration      prometheus.Histogram
	lag           prometheus.Histogram
	released      prometheus.Counter
	unheard       prometheus.Counter
	orphans       prometheus.Counter
	fetched       prometheus.Counter
	expired       prometheus.Counter
	forged        prometheus.Counter
	stale         prometheus.Counter
	duplicates    prometheus.Counter
	commitSeconds prometheus.Histogram
	commitRows    prometheus.Histogram
	moves         *prometheus.CounterVec
}

// newMetrics registers the dispatcher's metrics; stats reads the scheduler.
func newMetrics(reg prometheus.Registerer, stats func() scheduler.Stats) *metrics {
	if reg != nil {
		reg.MustRegister(newGauges(stats))
	}
	m := &metrics{}
	m.registerAttempts(promauto.With(reg))
	m.registerRows(promauto.With(reg))
	// rate() misses the first event of a series that begins with it.
	for _, reason := range attempt.Reasons() {
		m.attempts.WithLabelValues(reason)
	}
	for _, move := range []string{moveClaimed, moveReleased, moveLost} {
		m.moves.WithLabelValues(move)
	}
	return m
}

func (m *metrics) registerAttempts(f promauto.Factory) {
	m.attempts = f.NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_dispatch_attempts_total", Help: "Attempts, by reason of the result.",
	}, []string{"reason"})
	m.duration = f.NewHistogram(prometheus.HistogramOpts{
		Name: "fanmail_dispatch_attempt_seconds", Help: "Duration of attempts.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	})
	m.lag = f.NewHistogram(prometheus.HistogramOpts{
		Name: "fanmail_dispatch_first_attempt_lag_seconds", Help: "Time from an event's creation to the start of the first attempt of its deliveries.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
	})
}

func (m *metrics) registerRows(f promauto.Factory) {
	m.released = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_released_total", Help: "Deliveries released to the table, or inserted as due, because their lane had no room.",
	})
	m.orphans = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_orphans_total", Help: "Deliveries that an earlier owner of their partition, such as one that died, had fetched and not finished, and that were released before their leases ended.",
	})
	m.unheard = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_unheard_total", Help: "New deliveries taken from the table because the broker handed out no message of their partition.",
	})
	m.fetched = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_fetched_total", Help: "Due rows fetched from the table.",
	})
	m.expired = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_expired_messages_total", Help: "Deliveries dropped because their lease had run out; they are fetched from the table instead.",
	})
	m.forged = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_forged_messages_total", Help: "Delivery messages dropped because they are answers of the broker: no fan-out published them.",
	})
	m.stale = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_stale_outcomes_total", Help: "Outcomes that changed nothing, because the row had changed meanwhile.",
	})
	m.duplicates = f.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_dispatch_duplicate_messages_total", Help: "Delivery messages dropped because the delivery was already in memory.",
	})
	m.commitSeconds = f.NewHistogram(prometheus.HistogramOpts{
		Name: "fanmail_outcome_commit_seconds", Help: "Duration of the outcome writer's commits.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
	})
	m.commitRows = f.NewHistogram(prometheus.HistogramOpts{
		Name: "fanmail_outcome_commit_rows", Help: "Rows in a commit of the outcome writer.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
	})
	m.moves = f.NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_dispatch_partition_moves_total", Help: "Changes of partitions' ownership, by kind: claimed, released, lost.",
	}, []string{"move"})
}

// The labels of fanmail_dispatch_partition_moves_total.
const (
	moveClaimed  = "claimed"
	moveReleased = "released"
	moveLost     = "lost"
)

// gauge is one number of the scheduler.
type gauge struct {
	desc *prometheus.Desc
	read func(*scheduler.Stats) float64
}

// gauges collects all numbers of the scheduler from one reading, which takes
// its lock and looks at every lane.
type gauges struct {
	stats func() scheduler.Stats
	all   []gauge
}

func newGauges(stats func() scheduler.Stats) *gauges {
	g := &gauges{stats: stats}
	add := func(name, help string, read func(*scheduler.Stats) float64) {
		g.all = append(g.all, gauge{prometheus.NewDesc(name, help, nil, nil), read})
	}
	add("fanmail_dispatch_lanes", "Lanes in memory.", func(s *scheduler.Stats) float64 { return float64(s.Lanes) })
	add("fanmail_dispatch_in_flight", "Attempts in flight.", func(s *scheduler.Stats) float64 { return float64(s.InFlight) })
	add("fanmail_dispatch_queued", "Deliveries queued in lanes.", func(s *scheduler.Stats) float64 { return float64(s.Queued) })
	add("fanmail_dispatch_breakers_open", "Lanes whose breaker is open.", func(s *scheduler.Stats) float64 { return float64(s.OpenBreakers) })
	add("fanmail_dispatch_oldest_due_seconds", "How long the oldest delivery that may be attempted has been due. Lanes that pause, are disabled or have an open breaker do not count.",
		func(s *scheduler.Stats) float64 { return s.OldestDue.Seconds() })
	add("fanmail_dispatch_owned_partitions", "Partitions that this process owns.", func(s *scheduler.Stats) float64 { return float64(s.OwnedPartitions) })
	return g
}

// Describe is for Prometheus.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for i := range g.all {
		ch <- g.all[i].desc
	}
}

// Collect is for Prometheus.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.stats()
	for i := range g.all {
		ch <- prometheus.MustNewConstMetric(g.all[i].desc, prometheus.GaugeValue, g.all[i].read(&s))
	}
}
