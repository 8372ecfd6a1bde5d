package fanout

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	// batchEvents is the most events of one batch.
	batchEvents = 500
	// lookEvery is how often the first in rank looks for events that the broker
	// does not deliver. A look reads two rows of an index.
	lookEvery = time.Second
	// overdue is how long an event waits before a silent broker counts as one that
	// does not deliver.
	overdue = 3 * time.Second
	// takeEvery is how often waiting events are then taken from the outbox.
	takeEvery = 100 * time.Millisecond
	// shortest is how long that goes on at least, so that a broker that takes some
	// events and refuses others does not fill the log.
	shortest = 5 * time.Second
	// longest is how long it goes on without an event.
	longest = 30 * time.Second
	// outboxTime bounds one question to the outbox.
	outboxTime = 30 * time.Second
)

// past is the way past the broker: while the broker takes or delivers no events, the
// fan-out of the first dispatcher in rank takes them from the outbox.
type past struct {
	pool   *pgxpool.Pool
	lanes  Lanes // nil: there is no dispatcher in this process
	log    *zap.Logger
	taken  prometheus.Counter
	fanOut func(context.Context, []event) bool

	heard  atomic.Int64 // when the broker's last event came, in Unix nanoseconds
	active atomic.Bool
	// Of run alone: when it began to take events, and when it last took one.
	began, took time.Time
}

// hear notes that an event came from the broker.
func (p *past) hear() { p.heard.Store(time.Now().UnixNano()) }

// silent reports whether no event has come from the broker for a while.
func (p *past) silent() bool { return time.Since(time.Unix(0, p.heard.Load())) > overdue }

// over reports whether the broker delivers again, or there was nothing to take.
func (p *past) over(now time.Time) bool {
	return now.Sub(p.began) > shortest && !p.silent() || now.Sub(p.took) > longest
}

// run takes events past the broker whenever it is needed, until ctx ends.
func (p *past) run(ctx context.Context) {
	p.hear()
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := p.turn(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			p.log.Warn("the outbox can't be searched for events that the broker does not deliver", zap.Error(err))
		}
		failing = err != nil
		if p.active.Load() && !failing {
			timer.Reset(takeEvery)
		} else {
			timer.Reset(lookEvery)
		}
	}
}

// turn takes the events past the broker that need it now.
func (p *past) turn(ctx context.Context) error {
	first := p.lanes == nil
	if !first {
		rank, _ := p.lanes.Rank()
		first = rank == 0
	}
	if p.active.Load() && (!first || p.over(time.Now())) {
		p.active.Store(false)
		p.log.Info("no longer fanning out past the broker")
	}
	if !first {
		return nil
	}
	if !p.active.Load() {
		ask, cancel := context.WithTimeout(ctx, outboxTime)
		needed, err := outbox.Undelivered(ask, p.pool, p.silent(), overdue)
		cancel()
		if err != nil || !needed {
			return err
		}
	}
	n, err := p.takeOver(ctx)
	if n > 0 {
		p.took = time.Now()
		if !p.active.Swap(true) {
			p.began = p.took
			p.log.Warn("the broker does not deliver events: fanning out from the outbox until it does", zap.Int("events", n))
		}
	}
	return err
}

// takeOver fans out the events that wait in the outbox, whether they are leased to
// a publisher or not, and returns how many there were.
func (p *past) takeOver(ctx context.Context) (n int, err error) {
	for more := true; more && ctx.Err() == nil; {
		take, cancel := context.WithTimeout(ctx, outboxTime)
		entries, err := outbox.TakeOver(take, p.pool, batchEvents)
		cancel()
		if err != nil || len(entries) == 0 {
			return n, err
		}
		batch := make([]event, len(entries))
		for i := range entries {
			batch[i] = fromOutbox(&entries[i])
		}
		if !p.fanOut(context.WithoutCancel(ctx), batch) {
			return n, nil // logged; the next call takes them again
		}
		n += len(batch)
		p.taken.Add(float64(len(batch)))
		more = len(batch) == batchEvents
	}
	return n, nil
}
