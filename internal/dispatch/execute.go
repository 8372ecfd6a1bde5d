package dispatch

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The reason and the error of deliveries that end without an attempt.
const (
	reasonExpired = "event_expired"
	textExpired   = "the event is no longer kept"
	reasonDeleted = "webhook_deleted"
	textDeleted   = "the webhook was deleted"
	reasonLost    = "mail_lost"
)

// input gives the scheduler an input under the lock, and carries out what it
// asks for.
func (d *Dispatcher) input(f func(s *scheduler.Scheduler, now scheduler.Now)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	f(d.sched, now)
	d.advance(now)
}

// advance carries out what the scheduler asks for. d.mu must be held.
func (d *Dispatcher) advance(now scheduler.Now) {
	if q := d.advanceTo(now); q != nil && !d.reused(q) {
		go d.work(q) // waited for by way of d.idle
	}
}

// advanceTo does the same, but leaves the first attempt to the caller; nil:
// there is none.
func (d *Dispatcher) advanceTo(now scheduler.Now) (first *delivery) {
	d.sched.Block(d.outcomes.blocked.Load())
	d.sched.Advance(now)
	commands := d.sched.Commands()
	for i := range commands {
		c := &commands[i]
		var q *delivery
		if c.Delivery != nil {
			q = c.Delivery.Payload.(*delivery)
		}
		switch c.Kind {
		case scheduler.Start:
			q.webhook = c.Delivery.Webhook().Payload.(*subscribers.Entry)
			q.tenure = d.owner.tenure(events.Partition(q.WebhookID))
			if first == nil {
				first = q
			} else if !d.reused(q) {
				go d.work(q)
			}
		case scheduler.Renew:
			d.outcomes.add(entry{kind: entryRenew, d: q})
		case scheduler.Release:
			d.release(q)
		case scheduler.EndExpired:
			d.end(q, reasonExpired, textExpired)
		case scheduler.EndDeleted:
			d.end(q, reasonDeleted, textDeleted)
		case scheduler.Fetch:
			d.fetches = append(d.fetches, subscribers.FetchRequest{WebhookID: c.Webhook, TenantID: c.Tenant, Room: c.Room, Strict: c.Strict})
		case scheduler.Wake:
			d.timer.Reset(c.At.Sub(now.Time))
		case scheduler.RoomAvailable:
			close(d.room)
			d.room = make(chan struct{})
		case scheduler.Idle:
			close(d.idle)
		}
	}
	if len(d.fetches) > 0 {
		wake(d.fetch)
	}
	wake(d.changed)
	return first
}

// workerIdle is how long a worker without an attempt is kept. A POST makes a goroutine's
// stack grow, which costs more than to wait.
const workerIdle = 100 * time.Millisecond

// reused hands an attempt to a worker that has none. It returns false if there is no such
// worker.
func (d *Dispatcher) reused(q *delivery) bool {
	select {
	case d.free <- q:
		return true
	default:
		return false
	}
}

// next waits for a worker's next attempt; nil: it is to end.
func (d *Dispatcher) next(timer *time.Timer) *delivery {
	timer.Reset(workerIdle)
	select {
	case q := <-d.free:
		return q
	case <-timer.C:
	case <-d.idle:
	}
	return nil
}

// work makes attempts until none has come for a while: the slot that one frees is used
// by the same goroutine.
func (d *Dispatcher) work(q *delivery) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for q != nil {
		r := d.attempt(q)
		d.mu.Lock()
		now := d.clock.now()
		d.sched.Finish(now, &q.Delivery, r)
		q = d.advanceTo(now)
		d.mu.Unlock()
		if q == nil {
			q = d.next(timer)
		}
	}
}

// attempt is a delivery's way through one POST: send, count, record.
func (d *Dispatcher) attempt(q *delivery) scheduler.Result {
	ctx := d.attempts
	envelope, sent, err := d.poster.envelope(ctx, q.webhook, q.Envelope)
	if err != nil {
		return d.unread(q, err)
	}
	defer sent()
	var span trace.Span
	if q.traceparent != "" && d.o.Tracer != nil {
		ctx, span = d.startSpan(ctx, q)
	}
	if q.Attempts == 0 && !q.IsReplay {
		lag := time.Duration(max(0, d.clock.latest()-q.createdAt.UnixMicro())) * time.Microsecond
		observe(ctx, span, d.metrics.lag, lag.Seconds())
		d.o.Activity.Lag(lag)
	}
	d.o.Activity.Began(q.webhook.TenantID, q.WebhookID, "")
	r := d.poster.post(ctx, q.webhook, q, envelope)
	d.o.Activity.Ended(q.webhook.TenantID, q.WebhookID, "", activity.OutcomeOf(r.Delivered, r.StatusCode), len(q.Envelope))
	faults.At(faults.DispatchPosted)
	d.metrics.attempts.WithLabelValues(r.Reason).Inc()
	observe(ctx, span, d.metrics.duration, r.Duration.Seconds())
	if span != nil {
		d.endSpan(ctx, span, q, &r)
	}
	if r.Detail != "" {
		d.details.Do(func() {
			d.log.Info("an attempt got no answer", zap.Stringer("webhook", q.WebhookID), zap.Stringer("delivery", q.ID),
				zap.String("reason", r.Reason), zap.String("detail", r.Detail))
		})
	}
	if !r.Stopped() { // the scheduler releases one that was stopped
		d.record(q, &r)
	}
	return scheduler.Result{Outcome: outcomeOf(&r), RetryAfter: r.RetryAfter, Duration: r.Duration, Latency: r.Latency}
}

// unread ends an attempt before anything was sent, because the database or the blob store could not be read. The
// endpoint has no part in that: the scheduler releases the delivery, whose row waits, or which ends.
func (d *Dispatcher) unread(q *delivery, err error) scheduler.Result {
	switch {
	case d.attempts.Err() != nil: // this process ends the attempt
	case errors.Is(err, ErrLost):
		q.lost = true
	default:
		q.pause = unreadableWait
	}
	d.details.Do(func() {
		d.log.Warn("a mail can't be read for the envelope v0.4", zap.Stringer("webhook", q.WebhookID), zap.Stringer("delivery", q.ID),
			zap.Bool("lost", q.lost), zap.Duration("again_in", q.pause), zap.Error(err))
	})
	return scheduler.Result{Outcome: scheduler.Stopped}
}

func outcomeOf(r *attempt.Result) scheduler.Outcome {
	switch {
	case r.Delivered:
		return scheduler.Delivered
	case r.Stopped():
		return scheduler.Stopped
	case r.Reason == attempt.ReasonTimeout:
		return scheduler.TimedOut
	case r.Overload():
		return scheduler.Overloaded
	}
	return scheduler.Failed
}

// record has the outcome of an attempt written.
func (d *Dispatcher) record(q *delivery, r *attempt.Result) {
	n := q.Attempts + 1
	d.outcomes.add(entry{kind: entryOutcome, d: q, outcome: subscribers.Outcome{
		Ref: q.ref(), WebhookID: q.WebhookID, Attempt: n, Delivered: r.Delivered, StatusCode: r.StatusCode,
		Error: r.Error, Reason: r.Reason, Response: r.Response, Duration: r.Duration,
		Lease: q.Lease, MaxAttempts: min(q.maxAttempts, q.webhook.MaxAttempts), Final: r.Reason == attempt.ReasonGone || q.webhook.Retry.EndsAt(r.StatusCode), Retry: q.webhook.Retry.Delay(n, q.maxAttempts, r.RetryAfter),
	}})
}

// end fails a delivery without an attempt.
func (d *Dispatcher) end(q *delivery, reason, text string) {
	d.outcomes.add(entry{kind: entryOutcome, d: q, outcome: subscribers.Outcome{
		Ref: q.ref(), WebhookID: q.WebhookID, Attempt: q.Attempts, Lease: q.Lease, Error: text, Reason: reason, Unsent: true,
	}})
}

// release makes a delivery's row due, now or after its pause, and gives up its lease. It
// is fetched when its lane has room. One that is lost ends.
func (d *Dispatcher) release(q *delivery) {
	if q.lost {
		d.end(q, reasonLost, ErrLost.Error())
		return
	}
	d.metrics.released.Inc()
	d.outcomes.add(entry{kind: entryRelease, d: q})
}

// runTimer calls the scheduler when it asked to be called, until stop is closed.
func (d *Dispatcher) runTimer(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-d.timer.C:
			d.input(func(*scheduler.Scheduler, scheduler.Now) {})
		}
	}
}
