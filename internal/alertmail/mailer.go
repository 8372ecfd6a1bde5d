package alertmail

import (
	"context"
	"errors"
	"net/mail"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// every is the time between two looks for mails that are due.
	every = 2 * time.Second
	// batch is the most mails of one connection.
	batch = 20
	// longestWait bounds the time between two tries of a relay that is away.
	longestWait = time.Minute
	// laterFirst is the time to the second try of a mail that the relay refuses for now. It
	// doubles up to longestLater.
	laterFirst   = 15 * time.Second
	longestLater = time.Hour
	// drain is how long a mail may take after the process was told to stop.
	drain = 10 * time.Second
)

// Options configure a [Mailer].
type Options struct {
	Relay Relay
	From  *mail.Address // required
	// PublicURL is that of the console in browsers; "": mails have no link.
	PublicURL string
	// Report is told how each try of the relay ended; nil: it worked. It may be nil itself.
	Report     func(error)
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Mailer sends the mails that are due. Any number of replicas may run one.
type Mailer struct {
	pool     *pgxpool.Pool
	relay    *Relay
	composer *composer
	report   func(error)
	log      *zap.Logger
	mails    *prometheus.CounterVec
}

// The values of the label result beside the reasons.
const (
	resultSent    = "sent"
	resultNobody  = "nobody"
	resultExpired = "expired"
)

// New creates a mailer; Run starts it.
func New(pool *pgxpool.Pool, o Options) *Mailer {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	m := &Mailer{
		pool: pool, relay: &o.Relay, composer: &composer{from: o.From, publicURL: o.PublicURL}, report: o.Report, log: o.Log.Named("alertmail"),
		mails: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_alertmail_tries_total",
			Help: "Tries of mails about webhooks, by result: sent; nobody (no address); expired (three days old); or why not: unreachable, tls, credentials, sender, recipients, message.",
		}, []string{"result"}),
	}
	for _, r := range []string{resultSent, resultNobody, resultExpired, string(Unreachable), string(Untrusted), string(Credentials), string(Sender), string(Recipients), string(Message)} {
		m.mails.WithLabelValues(r)
	}
	return m
}

// Run works until ctx ends. Mails that it has not sent stay in the table.
func (m *Mailer) Run(ctx context.Context) error {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(every), backoff.WithMaxInterval(longestWait), backoff.WithMaxElapsedTime(0))
	timer := time.NewTimer(every)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := m.Round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			b.Reset()
			timer.Reset(every)
			failing = false
			continue
		}
		if !failing {
			m.log.Warn("mails about webhooks wait", zap.Error(err))
		}
		failing = true
		timer.Reset(b.NextBackOff())
	}
}

// Round sends the mails that are due, over one connection. The error is an [*Error] if
// the relay is at fault.
func (m *Mailer) Round(ctx context.Context) error {
	due, err := opevents.MailDue(ctx, m.pool)
	if err != nil || !due {
		return err
	}
	// Mails are claimed once the relay is ready: while it is away, none of them is anybody's.
	c, err := m.relay.dial(ctx)
	if err != nil {
		m.count(err)
		m.report(err)
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(drain):
			_ = c.Close()
		case <-done:
		}
	})
	defer stop()
	defer close(done)
	defer func() { _ = c.Quit() }()
	m.report(nil)
	for range batch {
		if ctx.Err() != nil {
			return nil
		}
		claimed, err := opevents.ClaimMail(ctx, m.pool)
		if err != nil || claimed == nil {
			return err
		}
		if err := m.one(ctx, c, claimed); err != nil {
			return err
		}
	}
	return nil
}

// one sends one mail and records what became of it.
func (m *Mailer) one(ctx context.Context, c *smtp.Client, claimed *opevents.Mail) error {
	to, err := tenancy.AlertAddresses(ctx, m.pool, claimed.TenantID)
	if err != nil {
		return err
	}
	log := m.log.With(zap.Stringer("webhook", claimed.WebhookID), zap.Stringer("tenant", claimed.TenantID))
	switch now := time.Now(); {
	case len(to) == 0:
		m.mails.WithLabelValues(resultNobody).Inc()
		return claimed.Drop(ctx, m.pool)
	case now.Sub(claimed.Last().At) > opevents.MailKeep:
		m.mails.WithLabelValues(resultExpired).Inc()
		log.Warn("a mail about a webhook was not sent within three days, and is dropped")
		return claimed.Drop(ctx, m.pool)
	}
	bytes, err := m.composer.compose(claimed, to, time.Now())
	if err != nil {
		log.Error("a mail about a webhook can't be made, and is dropped", zap.Error(err))
		m.mails.WithLabelValues(string(Message)).Inc()
		return claimed.Drop(ctx, m.pool)
	}
	refused, err := send(c, m.composer.from.Address, to, bytes)
	if len(refused) > 0 {
		log.Warn("the relay refuses addresses", zap.Strings("addresses", refused))
	}
	if err == nil {
		m.mails.WithLabelValues(resultSent).Inc()
		log.Info("mail sent", zap.Int("recipients", len(to)-len(refused)))
		// The mail is out, also if this process is told to stop.
		record, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return claimed.Sent(record, m.pool)
	}
	return m.failed(context.WithoutCancel(ctx), log, claimed, err)
}

// failed records that a mail was not sent. It returns the error if the next mail would
// meet it too.
func (m *Mailer) failed(ctx context.Context, log *zap.Logger, claimed *opevents.Mail, err error) error {
	m.count(err)
	var e *Error
	own := errors.As(err, &e) && (e.Reason == Recipients || e.Reason == Message)
	if own && !e.Temporary {
		log.Warn("the relay refuses a mail about a webhook, which is dropped", zap.Error(err))
		return claimed.Drop(ctx, m.pool)
	}
	wait := longestLater
	if claimed.Attempts < 8 {
		wait = min(laterFirst<<claimed.Attempts, longestLater)
	}
	later := claimed.Later(ctx, m.pool, wait)
	if own {
		return later
	}
	m.report(err)
	return errors.Join(err, later)
}

func (m *Mailer) count(err error) {
	var e *Error
	if errors.As(err, &e) {
		m.mails.WithLabelValues(string(e.Reason)).Inc()
	}
}
