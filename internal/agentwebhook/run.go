package agentwebhook

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// searchEvery is the interval of the search for due deliveries that no hint named:
// retries, and the deliveries of deliverers that died.
const searchEvery = time.Second

// Run delivers until ctx ends, then stops within Options.Drain: it claims nothing
// new, lets attempts in flight end or cuts them short and releases them, and writes
// the outcomes. It returns nil on a clean stop.
func (d *Deliverer) Run(ctx context.Context) error {
	if d.nc != nil {
		sub, err := d.nc.Subscribe(events.WakeAgents, func(m *nats.Msg) { d.slots.push(string(m.Data)) })
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", events.WakeAgents, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	asked := make(chan *nats.Msg, maxAsked)
	if d.nc != nil {
		sub, err := d.nc.ChanQueueSubscribe(events.AskDeliver, askGroup, asked)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", events.AskDeliver, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	// Attempts and writes may outlast ctx by Options.Drain.
	attemptCtx, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	writeCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	answering := make(chan struct{})
	go func() {
		defer close(answering)
		d.serveAsked(ctx, attemptCtx, asked)
	}()
	d.loop(ctx, attemptCtx, writeCtx)
	<-answering

	late := time.AfterFunc(d.o.Drain*3/4, func() { cut(attempt.ErrStopped) })
	defer late.Stop()
	last := time.AfterFunc(d.o.Drain, stop)
	defer last.Stop()
	d.working.Wait()
	d.poster.Close()
	return nil
}

// loop claims deliveries and starts attempts until ctx ends.
func (d *Deliverer) loop(ctx, attemptCtx, writeCtx context.Context) {
	tick := time.NewTicker(searchEvery)
	defer tick.Stop()
	after, search, failing := "", true, false
	for {
		var err error
		if search && d.slots.room() {
			after, err = d.search(ctx, after)
		}
		for err == nil && ctx.Err() == nil {
			requests := d.slots.take(claimAgents, time.Now())
			if len(requests) == 0 {
				break
			}
			err = d.start(ctx, attemptCtx, writeCtx, requests)
		}
		if err != nil && ctx.Err() == nil && !failing {
			d.log.Warn("claiming deliveries to agents failed; it is tried again", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-d.slots.wake:
			search = false
		case <-tick.C:
			search = true
		}
	}
}

// search reads the agents with due deliveries from the table, after the agent at
// which the last search ended. It returns the agent after which the next continues.
func (d *Deliverer) search(ctx context.Context, after string) (string, error) {
	d.slots.forget(time.Now())
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	due, last, err := waiting(call, d.pool, after, searchAgents)
	if err != nil {
		return after, err
	}
	if len(due) > 0 {
		d.slots.push(due...)
	}
	return last, nil
}

// start claims the requested deliveries and starts their attempts.
func (d *Deliverer) start(ctx, attemptCtx, writeCtx context.Context, requests []request) error {
	agents, rooms := make([]string, len(requests)), make([]int32, len(requests))
	for i, r := range requests {
		agents[i], rooms[i] = r.agent, int32(len(r.slots)) //nolint:gosec // at most perAgent
	}
	// Not ctx: if it ended while the claim commits, the rows would stay hidden until
	// their leases end.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	got, err := claim(call, d.pool, agents, rooms)
	of := make(map[string][]claimed, len(requests))
	for _, c := range got {
		of[c.agent] = append(of[c.agent], c)
	}
	for _, r := range requests {
		list := of[r.agent]
		for i := range list {
			d.working.Go(func() { d.work(attemptCtx, writeCtx, &list[i], r.slots[i]) })
		}
		d.slots.settle(r, len(list))
	}
	return err
}

// work makes one attempt in its slot.
func (d *Deliverer) work(attemptCtx, writeCtx context.Context, c *claimed, in *slot) {
	slow := time.AfterFunc(attempt.SlowAfter, func() { d.slots.slowDown(in, time.Now()) })
	r, sent := d.attempt(attemptCtx, writeCtx, c)
	quick := slow.Stop() && sent && r.Delivered
	d.slots.end(in, quick)
}
