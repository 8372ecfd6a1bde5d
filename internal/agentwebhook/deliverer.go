package agentwebhook

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

const (
	// callTimeout bounds one call of the database.
	callTimeout = 30 * time.Second
	// unreadableWait is how long a delivery waits whose mail could not be read.
	unreadableWait = 10 * time.Second
)

// Options say how a deliverer runs.
type Options struct {
	// Slots is how many attempts may be in flight to endpoints that answer within
	// [attempt.SlowAfter]; zero: 64. SlowSlots is the same for slower ones; zero:
	// four times Slots.
	Slots, SlowSlots int
	// AllowHTTP sends to plain HTTP URLs.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// Proxy for all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
	// Deprecated is since when the agents' own webhooks are deprecated, for the
	// header Deprecation (RFC 9745). Sunset is when they end, for the header
	// Sunset (RFC 8594). Zero: no header.
	Deprecated, Sunset time.Time
	// Drain is how long stopping may take; zero: 20 s.
	Drain      time.Duration
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Deliverer sends mail to the agents' own webhooks. Any number of them may run on
// one database. Make one with [New].
type Deliverer struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	o       Options
	log     *zap.Logger
	metrics *metrics
	poster  *poster
	slots   *slots

	working sync.WaitGroup
}

// New makes a deliverer. Give it a dedicated pool, so that it and the rest do not
// wait for each other's connections. nc may be nil: new deliveries are then found
// by searching alone.
func New(pool *pgxpool.Pool, nc *nats.Conn, o Options) *Deliverer {
	if o.Slots <= 0 {
		o.Slots = 64
	}
	if o.SlowSlots <= 0 {
		o.SlowSlots = 4 * o.Slots
	}
	if o.Drain <= 0 {
		o.Drain = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	d := &Deliverer{
		pool: pool, nc: nc, o: o, log: o.Log.Named("agents"), slots: newSlots(o.Slots, o.SlowSlots), poster: newPoster(o),
	}
	d.metrics = newMetrics(o.Registerer, d.slots)
	return d
}

// attempt takes a claimed delivery through one POST: read what is to be sent,
// POST under the attempt context, record under the write context. sent is false
// if nothing was sent; the result then says why the delivery ended, or is zero if
// it is tried again.
func (d *Deliverer) attempt(attemptCtx, writeCtx context.Context, c *claimed) (r attempt.Result, sent bool) {
	// A process that was paused may hold a lease that has run out.
	if c.leaseLeft() < AttemptTimeout {
		return r, false
	}
	p, b, ended, err := d.prepare(attemptCtx, c)
	if err != nil {
		d.log.Warn("a mail for an agent's webhook can't be read; trying again", zap.Stringer("message_id", c.id), zap.Error(err))
		d.write(writeCtx, func(ctx context.Context) error { return release(ctx, d.pool, c, unreadableWait) })
		return r, false
	}
	if ended != "" {
		d.write(writeCtx, func(ctx context.Context) error { return fail(ctx, d.pool, c, ended) })
		d.metrics.ended.WithLabelValues("expired").Inc()
		d.log.Warn("a delivery to an agent's webhook ended", zap.Stringer("message_id", c.id), zap.String("agent_id", c.agent), zap.String("reason", ended))
		return attempt.Result{Reason: attempt.ReasonRequest, Error: ended}, false
	}
	if c.attempts == 0 {
		d.metrics.lag.Observe(max(0, time.Since(c.createdAt).Seconds()))
	}
	r = d.poster.post(attemptCtx, c, p, b)
	d.metrics.attempts.WithLabelValues(r.Reason).Inc()
	d.metrics.duration.Observe(r.Duration.Seconds())
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

// prepare reads what is to be sent. ended is why the delivery can't be sent at
// all; "" if it can.
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
		b, err = newBody(ctx, d.pool, p, c.raw)
	}
	if errors.Is(err, mailbox.ErrGone) {
		return nil, nil, mailbox.ErrGone.Error(), nil
	}
	return p, b, "", err
}

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

// write calls f until it succeeds or ctx ends, so that it outlasts an outage of
// the database. A row that stays unwritten is claimed again after its lease.
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
			d.log.Warn("an outcome can't be written; trying again", zap.Error(err))
		}
		warned = true
	})
}
