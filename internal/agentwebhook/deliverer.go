package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

const (
	// claimAgents is how many agents one claim asks for, lookAgents how many
	// one search looks at.
	claimAgents = 32
	lookAgents  = 500
	// lookEvery is how often due deliveries are searched for that no hint told
	// of: retries, and those of deliverers that died.
	lookEvery = time.Second
	// brokenWait is how long a delivery waits whose mail could not be read.
	brokenWait = 10 * time.Second
)

// Options say how a deliverer runs.
type Options struct {
	// Slots is how many attempts may be on the wire at once to endpoints that
	// answer within a second; zero: 64. SlowSlots is the same for the slower
	// ones; zero: four times Slots.
	Slots, SlowSlots int
	// AllowHTTP sends to plain HTTP URLs.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// Proxy for all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
	// Deprecated is since when the agents' own webhooks are deprecated, for
	// the header Deprecation (RFC 9745), and Sunset when they will end, for
	// the header Sunset (RFC 8594). Zero: no header.
	Deprecated, Sunset time.Time
	// Drain is how long stopping may take; zero: 20 s.
	Drain      time.Duration
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// What [Deliverer.DeliverSync] refuses.
var (
	// ErrNoDelivery says that the tenant has no such message, or its agent no
	// webhook of its own.
	ErrNoDelivery = errors.New("no such message, or its agent has no webhook of its own")
	// ErrNotDue says that the message's delivery has ended, is being attempted,
	// or waits for its next attempt.
	ErrNotDue = errors.New("the message's delivery has ended, is being attempted, or waits for its next attempt")
)

// Deliverer sends mail to the agents' own webhooks. Any number of them may run
// on one database. Make one with [New].
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

// New makes a deliverer; Run starts it. Its connections had better be its own,
// so that it waits for no others and no others for it. nc may be nil: new
// deliveries are then found by searching alone.
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

// Run delivers until ctx ends, then stops within the drain deadline: nothing
// new is claimed, attempts on the wire end or are cut short and given back,
// and outcomes are written.
func (d *Deliverer) Run(ctx context.Context) error {
	if d.nc != nil {
		sub, err := d.nc.Subscribe(events.WakeAgents, func(m *nats.Msg) { d.slots.push(string(m.Data)) })
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", events.WakeAgents, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	// Attempts outlive ctx by as much as draining may take.
	wire, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	// Outcomes are written under ink, which lasts until the deadline.
	ink, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	d.loop(ctx, wire, ink)

	late := time.AfterFunc(d.o.Drain*3/4, func() { cut(attempt.ErrStopped) })
	defer late.Stop()
	last := time.AfterFunc(d.o.Drain, stop)
	defer last.Stop()
	d.working.Wait()
	d.poster.Close()
	return nil
}

// loop claims and starts until ctx ends.
func (d *Deliverer) loop(ctx, wire, ink context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	after, look, failing := "", true, false
	for {
		var err error
		if look && d.slots.room() {
			after, err = d.look(ctx, after)
		}
		for err == nil && ctx.Err() == nil {
			wants := d.slots.take(claimAgents, time.Now())
			if len(wants) == 0 {
				break
			}
			err = d.start(ctx, wire, ink, wants)
		}
		if err != nil && ctx.Err() == nil && !failing {
			d.log.Warn("deliveries to agents can't be claimed; trying again", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-d.slots.wake:
			look = false
		case <-tick.C:
			look = true
		}
	}
}

// look searches the table for agents with due deliveries, from where the last
// search ended.
func (d *Deliverer) look(ctx context.Context, after string) (string, error) {
	d.slots.forget(time.Now())
	call, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	due, last, err := waiting(call, d.pool, after, lookAgents)
	if err != nil {
		return after, err
	}
	if len(due) > 0 {
		d.slots.push(due...)
	}
	return last, nil
}

// start claims what is wanted and begins the attempts.
func (d *Deliverer) start(ctx, wire, ink context.Context, wants []want) error {
	agents, rooms := make([]string, len(wants)), make([]int32, len(wants))
	for i, w := range wants {
		agents[i], rooms[i] = w.agent, int32(len(w.slots)) //nolint:gosec // at most perAgent
	}
	// Not ctx: what a claim has leased would wait for its lease's end.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	got, err := claim(call, d.pool, agents, rooms)
	of := make(map[string][]claimed, len(wants))
	for _, c := range got {
		of[c.agent] = append(of[c.agent], c)
	}
	for _, w := range wants {
		list := of[w.agent]
		for i := range list {
			d.working.Go(func() { d.work(wire, ink, &list[i], w.slots[i]) })
		}
		d.slots.settle(w, len(list))
	}
	return err
}

// work makes one attempt in its slot.
func (d *Deliverer) work(wire, ink context.Context, c *claimed, in *slot) {
	slow := time.AfterFunc(attempt.SlowAfter, func() { d.slots.slowDown(in, time.Now()) })
	o, made := d.attempt(wire, ink, c)
	quick := slow.Stop() && made && o.Delivered
	d.slots.end(in, quick)
}

// attempt is a delivery's way through one POST: read what is to be sent, POST,
// record. made is false where nothing was sent.
func (d *Deliverer) attempt(wire, ink context.Context, c *claimed) (o attempt.Result, made bool) {
	// A process that was paused may hold a lease that has run out.
	if c.leaseLeft() < AttemptTimeout {
		return o, false
	}
	why := ""
	switch {
	case c.expired:
		why = "expired"
	case c.url == nil:
		why = "the agent has no webhook any more"
	case c.envelope == nil:
		why = errGone.Error()
	}
	var pay *Payload
	var b *body
	if why == "" {
		var err error
		if pay, err = payload(c.agent, c.envelope); err == nil {
			b, err = newBody(wire, d.pool, pay, c.raw)
		}
		if errors.Is(err, errGone) {
			why = errGone.Error()
		} else if err != nil {
			d.log.Warn("a mail for an agent's webhook can't be read; trying again", zap.Stringer("message", c.id), zap.Error(err))
			d.write(ink, func(ctx context.Context) error { return giveBack(ctx, d.pool, c, brokenWait) })
			return o, false
		}
	}
	if why != "" {
		d.write(ink, func(ctx context.Context) error { return end(ctx, d.pool, c, why) })
		d.metrics.ended.WithLabelValues("expired").Inc()
		d.log.Warn("a delivery to an agent's webhook ended", zap.Stringer("message", c.id), zap.String("agent", c.agent), zap.String("because", why))
		return attempt.Result{Reason: attempt.ReasonRequest, Error: why}, false
	}
	if c.attempts == 0 {
		d.metrics.lag.Observe(max(0, time.Since(c.createdAt).Seconds()))
	}
	o = d.poster.post(wire, c, pay, b)
	d.metrics.attempts.WithLabelValues(o.Reason).Inc()
	d.metrics.duration.Observe(o.Duration.Seconds())
	if o.Stopped() || b.broken.Load() {
		d.write(ink, func(ctx context.Context) error { return giveBack(ctx, d.pool, c, 0) })
		return o, true
	}
	d.write(ink, func(ctx context.Context) error { return d.record(ctx, c, &o) })
	return o, true
}

func (d *Deliverer) record(ctx context.Context, c *claimed, o *attempt.Result) error {
	status, err := record(ctx, d.pool, c, o)
	if err != nil {
		return err
	}
	switch status {
	case "delivered":
		d.metrics.ended.WithLabelValues(status).Inc()
	case "failed":
		d.metrics.ended.WithLabelValues(status).Inc()
		d.log.Info("a delivery to an agent's webhook failed", zap.Stringer("message", c.id), zap.String("agent", c.agent),
			zap.Int("attempts", c.attempts+1), zap.String("reason", o.Reason), zap.Int("status", o.StatusCode))
	}
	return nil
}

// write writes until it succeeds, waiting out a database that is away, or ctx
// ends. What is then unwritten comes again by its lease.
func (d *Deliverer) write(ctx context.Context, f func(context.Context) error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	warned := false
	_ = backoff.RetryNotify(func() error {
		call, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return f(call)
	}, backoff.WithContext(pause, ctx), func(err error, _ time.Duration) {
		if !warned && ctx.Err() == nil {
			d.log.Warn("an outcome can't be written; trying again", zap.Error(err))
		}
		warned = true
	})
}

// DeliverSync makes an attempt for one message now and gives its result, which
// is recorded all the same: a failed delivery is tried again later like any
// other. It returns [ErrNoDelivery] or [ErrNotDue] where there is nothing to
// attempt. If ctx ends first, the attempt is cut short and counts as failed.
func (d *Deliverer) DeliverSync(ctx context.Context, tenant events.TenantID, message events.MessageID) (attempt.Result, error) {
	c, ok, err := claimMessage(ctx, d.pool, tenant, message)
	if err != nil {
		return attempt.Result{}, err
	}
	if !ok {
		have, err := exists(ctx, d.pool, tenant, message)
		if err == nil && !have {
			err = ErrNoDelivery
		}
		if err == nil {
			err = ErrNotDue
		}
		return attempt.Result{}, err
	}
	ink, cancel := context.WithTimeout(context.WithoutCancel(ctx), AttemptTimeout+30*time.Second)
	defer cancel()
	o, made := d.attempt(ctx, ink, &c)
	if !made && o.Error == "" {
		return o, fmt.Errorf("deliver message %s: it could not be read now, and is tried again later", message)
	}
	return o, nil
}
