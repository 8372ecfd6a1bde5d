package agentwebhook

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// writeTimeout is how long an outcome may take to be written after its attempt,
// if there is no Run that drains.
const writeTimeout = callTimeout

// DeliverSync makes an attempt for one message now and returns its result. The
// result is recorded, and a failed delivery is tried again later like any other.
// It returns [ErrNoDelivery] or [ErrNotDue] if there is nothing to attempt. If
// ctx ends first, the attempt is cut short and counts as failed.
func (d *Deliverer) DeliverSync(ctx context.Context, tenant events.TenantID, message events.MessageID) (attempt.Result, error) {
	c, err := claimMessage(ctx, d.pool, tenant, message)
	if err != nil {
		return attempt.Result{}, err
	}
	writeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AttemptTimeout+writeTimeout)
	defer cancel()
	r, sent := d.attempt(ctx, writeCtx, &c)
	if !sent && r.Error == "" {
		return r, fmt.Errorf("deliver message %s: it could not be read now, and is tried again later", message)
	}
	return r, nil
}

// Round attempts every due delivery once, without Run: it returns when all
// outcomes are recorded and nothing that was due is left. A failed delivery is
// due again later, so it is not attempted twice. If ctx ends first, attempts in
// flight are cut short and released, and the error is that of ctx.
func (d *Deliverer) Round(ctx context.Context) error {
	for {
		n, err := d.pass(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// pass searches all agents once and attempts a few deliveries of each that has
// due ones. It returns how many it claimed.
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

// attemptAll claims due deliveries of the agents, attempts them at the same time
// and waits until they are recorded.
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
