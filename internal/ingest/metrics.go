package ingest

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// reason says why mail or a connection was refused. The set is closed.
type reason string

const (
	refusedRecipient   reason = "unknown_recipient"
	refusedLoop        reason = "loop"
	refusedSize        reason = "too_large"
	refusedDatabase    reason = "database"
	refusedMemory      reason = "memory"
	refusedConnections reason = "connections"
	refusedAborted     reason = "aborted"
	refusedStopping    reason = "stopping"
	refusedSpool       reason = "spool"
	refusedSlow        reason = "slow"
	refusedErrors      reason = "errors"
	refusedCommands    reason = "commands"
	refusedBroker      reason = "broker"
	refusedBrokerFull  reason = "broker_full"
	refusedBlobs       reason = "blobs"

	refusedMilter       reason = "milter"
	refusedMilterFailed reason = "milter_failed"

	refusedDenied   reason = "sender_denied"
	refusedOutsider reason = "sender_not_allowed"
	refusedDMARC    reason = "sender_dmarc"
	deferredDMARC   reason = "sender_dmarc_unknown"

	refusedQuota             reason = "quota"
	refusedClientMemory      reason = "client_memory"
	refusedClientConnections reason = "client_connections"
)

var reasons = []reason{
	refusedRecipient, refusedLoop, refusedSize, refusedDatabase, refusedMemory, refusedConnections, refusedAborted, refusedStopping, refusedSpool,
	refusedSlow, refusedErrors, refusedCommands, refusedBroker, refusedBrokerFull, refusedBlobs, refusedQuota, refusedClientMemory, refusedClientConnections,
	refusedMilter, refusedMilterFailed, refusedDenied, refusedOutsider, refusedDMARC, deferredDMARC,
}

// What is cut off to make room. The set is closed.
const (
	evictedConnection = "connection"
	evictedTransfer   = "transfer"
)

// The ways in that are held to a tenant's quotas. The set is closed.
const (
	doorSMTP   = "smtp"
	doorRaw    = "raw" // mails that were answered with 250 already
	doorIntake = "intake"
)

type metrics struct {
	mails       prometheus.Counter
	events      prometheus.Counter
	duplicates  prometheus.Counter
	parseErrors prometheus.Counter
	refused     *prometheus.CounterVec
	overQuota   *prometheus.CounterVec
	evicted     *prometheus.CounterVec
	delayed     prometheus.Counter
	transaction prometheus.Histogram
	checks      *prometheus.CounterVec
	checking    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		mails:       prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_ingest_mails_accepted_total", Help: "Mails answered with 250."}),
		events:      prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_ingest_events_total", Help: "Events created from mails, one for each agent."}),
		duplicates:  prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_ingest_duplicates_total", Help: "Events not created, because the agent had already received the mail."}),
		parseErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_ingest_parse_errors_total", Help: "Accepted mails that could be parsed only in part."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanmail_ingest_refused_total", Help: "Refusals over SMTP, by reason."}, []string{"reason"}),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_ingest_transaction_seconds", Help: "Duration of the transaction of a mail.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}),
	}
	m.checks = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fanmail_ingest_mailauth_total", Help: "Authentication results of mails, by method and result."}, []string{"method", "result"})
	m.checking = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "fanmail_ingest_authentication_seconds", Help: "Duration of the checks of a mail's sender.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
	})
	m.evicted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_ingest_evicted_total", Help: "Clients cut off to make room for others: idle or slow connections, and slow transfers.",
	}, []string{"what"})
	m.evicted.WithLabelValues(evictedConnection)
	m.evicted.WithLabelValues(evictedTransfer)
	m.delayed = prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_ingest_delayed_replies_total", Help: "Replies that were delayed because the client made too many errors or commands."})
	for _, why := range reasons {
		m.refused.WithLabelValues(string(why))
	}
	m.overQuota = newOverQuota(r)
	register(r, m.mails, m.events, m.duplicates, m.parseErrors, m.refused, m.evicted, m.delayed, m.transaction, m.checks, m.checking)
	return m
}

// watch reports the bytes that are held in temporary files.
func (m *metrics) watch(r prometheus.Registerer, held func() int64) {
	register(r, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanmail_ingest_spooled_bytes", Help: "Bytes of unfinished mails in temporary files.",
	}, func() float64 { return float64(held()) }))
}

func (m *metrics) refuse(why reason) { m.refused.WithLabelValues(string(why)).Inc() }

// mailauth counts the authentication results of a mail. They are a closed set.
func (m *metrics) mailauth(a *email.Authentication, took time.Duration) {
	m.checking.Observe(took.Seconds())
	m.checks.WithLabelValues("spf", string(a.SPF.Result)).Inc()
	for _, s := range a.DKIM {
		m.checks.WithLabelValues("dkim", string(s.Result)).Inc()
	}
	m.checks.WithLabelValues("dmarc", string(a.DMARC.Result)).Inc()
}

// newOverQuota returns the counter that the ways in of one registry share.
func newOverQuota(r prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_ingest_over_quota_total",
		Help: "Mails and messages above a tenant's quota of the day, by way in: smtp and intake refuse them, raw counts them only.",
	}, []string{"door", "quota"})
	if r == nil {
		return c
	}
	if err := r.Register(c); err != nil {
		if before, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			return before.ExistingCollector.(*prometheus.CounterVec) //nolint:forcetypeassert // it has the same descriptor
		}
		panic(err)
	}
	for _, door := range []string{doorSMTP, doorRaw, doorIntake} {
		c.WithLabelValues(door, usage.EventsPerDay)
		c.WithLabelValues(door, usage.BytesPerDay)
	}
	return c
}

type intakeMetrics struct {
	accepted, duplicates, dead prometheus.Counter
	transaction                prometheus.Histogram
	overQuota                  *prometheus.CounterVec
	fullness                   *prometheus.GaugeVec
}

func newIntakeMetrics(r prometheus.Registerer) *intakeMetrics {
	m := &intakeMetrics{
		accepted:   prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_intake_events_total", Help: "Events accepted from the intake subject."}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_intake_duplicates_total", Help: "Intake messages whose event existed already."}),
		dead:       prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_intake_dead_total", Help: "Intake messages moved to the dead-letter subject."}),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fanmail_intake_transaction_seconds", Help: "Duration of the transaction of a batch.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}),
	}
	m.overQuota = newOverQuota(r)
	m.fullness = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "fanmail_intake_stream_fullness_ratio",
		Help: "Part of its bound that an intake stream holds: the shared one, and the tenants' own from a half on, which have the tenant's id in their name.",
	}, []string{"stream"})
	m.fullness.WithLabelValues(stream.Intake)
	register(r, m.accepted, m.duplicates, m.dead, m.transaction, m.fullness)
	return m
}

// halfFull is the part of its bound from which a tenant's own stream has a metric.
const halfFull = 0.5

// full sets the metric of the shared stream, and of the tenants' own that are half full or more.
func (m *intakeMetrics) full(found []stream.IntakeState) {
	m.fullness.Reset()
	for _, s := range found {
		if ratio := s.Fullness(); ratio >= halfFull || !s.Own {
			m.fullness.WithLabelValues(s.Name).Set(ratio)
		}
	}
}

func register(r prometheus.Registerer, cs ...prometheus.Collector) {
	if r != nil {
		r.MustRegister(cs...)
	}
}
