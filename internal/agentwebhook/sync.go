package agentwebhook

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// writeTimeout is the time limit of writing an outcome after its attempt in
// [Deliverer.DeliverSync] and [Deliverer.Round].
const writeTimeout = callTimeout

// DeliverSync makes an attempt for one message now and returns its result. It records
// the result, and a failed delivery is retried later as usual. It returns
// [ErrNoDelivery] or [ErrNotDue] if there is nothing to attempt. If ctx ends first,
// the attempt is cut short and counts as failed.
func (d *Deliverer) DeliverSync(ctx context.Context, tenant events.TenantID, message events.MessageID) (attempt.Result, error) {
	return d.deliver(ctx, tenant, message, false)
}

// DeliverNow is DeliverSync for a delivery that also may wait for its next attempt or have failed: it is made due first, as
// by [Retry]. It returns the errors of both.
func (d *Deliverer) DeliverNow(ctx context.Context, tenant events.TenantID, message events.MessageID) (attempt.Result, error) {
	return d.deliver(ctx, tenant, message, true)
}

func (d *Deliverer) deliver(ctx context.Context, tenant events.TenantID, message events.MessageID, now bool) (attempt.Result, error) {
	c, err := claimMessage(ctx, d.pool, tenant, message, now)
	if err != nil {
		return attempt.Result{}, err
	}
	writeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AttemptTimeout+writeTimeout)
	defer cancel()
	r, sent := d.attempt(ctx, writeCtx, &c)
	if !sent && r.Error == "" {
		return r, fmt.Errorf("deliver message %s: the message can't be read from the database now; the delivery is tried again later", message)
	}
	return r, nil
}

// Round attempts every due delivery once, and returns when all outcomes are recorded. It
// needs no Run. A failed delivery is due again later, so it is not attempted twice. If
// ctx ends first, Round cuts attempts in flight short, releases their deliveries and
// returns the error of ctx.
func (d *Deliverer) Round(ctx context.Context) error {
	for {
		n, err := d.pass(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// pass searches all agents once, and attempts up to perAgent due deliveries of each. It
// returns how many it claimed.
func (d *Deliverer) pass(ctx context.Context) (n int, err error) {
	for after := ""; ; {
		due, last, err := waiting(ctx, d.pool, after, searchAgents)
		if err != nil {
			return n, err
		}
		for some := range slices.Chunk(due, claimAgents) {
			got, err := d.attemptAll(ctx, some)
			n += got
			if err != nil {
				return n, err
			}
		}
		if after = last; last == "" {
			return n, nil
		}
	}
}

// attemptAll claims due deliveries of the agents, attempts them concurrently and returns
// when they are recorded. It returns how many it claimed.
func (d *Deliverer) attemptAll(ctx context.Context, agents []string) (int, error) {
	rooms := make([]int32, len(agents))
	for i := range rooms {
		rooms[i] = perAgent
	}
	got, err := claim(ctx, d.pool, agents, rooms)
	if err != nil {
		return 0, err
	}
	attemptCtx, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer context.AfterFunc(ctx, func() { cut(attempt.ErrStopped) })()
	writeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AttemptTimeout+writeTimeout)
	defer cancel()
	var working sync.WaitGroup
	for i := range got {
		working.Go(func() { d.attempt(attemptCtx, writeCtx, &got[i]) })
	}
	working.Wait()
	return len(got), ctx.Err()
}
