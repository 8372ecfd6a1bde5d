package agentwebhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

const (
	// callTimeout is the time limit of one call to the database.
	callTimeout = 30 * time.Second
	// unreadableWait is the delay before the next attempt if the mail can't be read.
	unreadableWait = 10 * time.Second
)

// Deliverer sends mail to the agents' own webhooks. Any number of deliverers may run
// on one database. Create one with [New].
type Deliverer struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	o       Options
	log     *zap.Logger
	metrics *metrics
	poster  *poster
	slots   *slots

	working sync.WaitGroup
	// details bounds the log lines about attempts without an answer.
	details rate.Sometimes
}

// New returns a deliverer; call [Deliverer.Run] to start it. Give it a dedicated pool,
// so that it does not compete for connections. If nc is nil, only the search finds
// new deliveries, up to a second later.
func New(pool *pgxpool.Pool, nc *nats.Conn, o Options) *Deliverer {
	o = o.withDefaults()
	d := &Deliverer{
		pool: pool, nc: nc, o: o, log: o.Log.Named("agents"), slots: newSlots(o.Slots, o.SlowSlots), poster: newPoster(o),
		details: rate.Sometimes{First: 10, Interval: time.Second},
	}
	d.metrics = newMetrics(o.Registerer, d.slots)
	return d
}

// Close closes idle connections of a deliverer that does not run.
func (d *Deliverer) Close() { d.poster.Close() }

// attempt makes one attempt of a claimed delivery. It reads the mail and POSTs it under
// the attempt context, and records the outcome under the write context. sent is false
// if there was no POST. The result then holds the reason why the delivery ended, or
// is zero if the delivery is tried again.
func (d *Deliverer) attempt(attemptCtx, writeCtx context.Context, c *claimed) (r attempt.Result, sent bool) {
	// If the process was paused, the lease may have run out.
	if c.leaseLeft() < AttemptTimeout {
		return r, false
	}
	p, b, ended, err := d.prepare(attemptCtx, c)
	if err != nil {
		d.log.Warn("reading a mail for an agent's webhook failed; it is tried again", zap.Stringer("message_id", c.id), zap.Error(err))
		d.write(writeCtx, func(ctx context.Context) error { return release(ctx, d.pool, c, unreadableWait) })
		return r, false
	}
	if ended != "" {
		d.write(writeCtx, func(ctx context.Context) error { return fail(ctx, d.pool, c, ended) })
		d.metrics.ended.WithLabelValues("expired").Inc()
		d.log.Warn("a delivery to an agent's webhook ended", zap.Stringer("message_id", c.id), zap.String("agent_id", c.agent), zap.String("reason", ended))
		return attempt.Result{Reason: attempt.ReasonRequest, Error: ended}, false
	}
	defer b.close()
	if c.attempts == 0 {
		d.metrics.lag.Observe(max(0, time.Since(c.createdAt).Seconds()))
	}
	d.o.Activity.Began(c.tenant, events.WebhookID{}, c.agent)
	r = d.poster.post(attemptCtx, c, p, b)
	d.o.Activity.Ended(c.tenant, events.WebhookID{}, c.agent, activity.OutcomeOf(r.Delivered, r.StatusCode), int(b.length()))
	d.metrics.attempts.WithLabelValues(r.Reason).Inc()
	d.metrics.duration.Observe(r.Duration.Seconds())
	if r.Detail != "" {
		d.details.Do(func() {
			d.log.Info("an attempt got no answer", zap.Stringer("message_id", c.id), zap.String("agent_id", c.agent),
				zap.String("reason", r.Reason), zap.String("detail", r.Detail))
		})
	}
	switch {
	case r.Stopped():
		d.write(writeCtx, func(ctx context.Context) error { return release(ctx, d.pool, c, 0) })
	case b.broken.Load():
		d.write(writeCtx, func(ctx context.Context) error { return release(ctx, d.pool, c, unreadableWait) })
	default:
		d.write(writeCtx, func(ctx context.Context) error { return d.record(ctx, c, &r) })
	}
	return r, true
}

// prepare reads the payload and the body. ended is the reason why the delivery can
// never be sent, or "".
func (d *Deliverer) prepare(ctx context.Context, c *claimed) (p *Payload, b *body, ended string, err error) {
	switch {
	case c.expired:
		return nil, nil, "expired", nil
	case c.url == nil:
		return nil, nil, "the agent has no webhook any more", nil
	case c.envelope == nil:
		return nil, nil, mailbox.ErrGone.Error(), nil
	}
	if p, err = newPayload(c.agent, c.envelope); err == nil {
		b, err = newBody(ctx, d.pool, d.o.Blobs, p, c.raw)
	}
	for _, last := range []error{mailbox.ErrGone, errEvent} {
		if errors.Is(err, last) {
			return nil, nil, last.Error(), nil
		}
	}
	if lost, ok := errors.AsType[*mailbox.BlobError](err); ok {
		return nil, nil, lost.Error(), nil
	}
	return p, b, "", err
}

// record writes an attempt's result, counts it and logs a final failure.
func (d *Deliverer) record(ctx context.Context, c *claimed, r *attempt.Result) error {
	status, err := record(ctx, d.pool, c, r)
	if err != nil {
		return err
	}
	switch status {
	case "delivered":
		d.metrics.ended.WithLabelValues(status).Inc()
	case "failed":
		d.metrics.ended.WithLabelValues(status).Inc()
		d.log.Info("a delivery to an agent's webhook failed", zap.Stringer("message_id", c.id), zap.String("agent_id", c.agent),
			zap.Int("attempts", c.attempts+1), zap.String("reason", r.Reason), zap.Int("status_code", r.StatusCode))
	}
	return nil
}

// write calls f until it succeeds or ctx ends, so that a result survives an outage of
// the database. If it is never written, the row is claimed again after its lease.
func (d *Deliverer) write(ctx context.Context, f func(context.Context) error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	warned := false
	_ = backoff.RetryNotify(func() error {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return f(call)
	}, backoff.WithContext(pause, ctx), func(err error, _ time.Duration) {
		if !warned && ctx.Err() == nil {
			d.log.Warn("writing an outcome of a delivery to an agent failed; it is tried again", zap.Error(err))
		}
		warned = true
	})
}
