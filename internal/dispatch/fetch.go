package dispatch

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// fetchTimeout bounds the statement of one fetch.
const fetchTimeout = 30 * time.Second

// runFetches leases due rows as the scheduler asks for them, until ctx ends.
// They go straight into the lanes: their owner is this process.
func (d *Dispatcher) runFetches(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.fetch:
			d.fetchRows(ctx, d.takeFetches())
		}
	}
}

func (d *Dispatcher) takeFetches() []subscribers.FetchRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	requests := d.fetches
	d.fetches = nil
	return requests
}

func (d *Dispatcher) fetchRows(ctx context.Context, requests []subscribers.FetchRequest) {
	if len(requests) == 0 {
		return
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	leased, next, err := subscribers.FetchDue(call, d.pool, requests)
	if err != nil {
		d.log.Warn("due deliveries can't be fetched", zap.Error(err))
		d.fetched(requests, nil, nil)
		return
	}
	d.metrics.fetched.Add(float64(len(leased)))
	rows := make(map[events.WebhookID]int, len(requests))
	var heads webhookrequest.HeadReader
	for i := range leased {
		rows[leased[i].WebhookID]++
		d.admitWaiting(ctx, newDelivery(&leased[i], fromTable, &heads))
	}
	d.fetched(requests, rows, next)
}

// fetched tells the scheduler what a fetch brought: rows and the next due time
// by webhook. Without next the fetch failed.
func (d *Dispatcher) fetched(requests []subscribers.FetchRequest, rows map[events.WebhookID]int, next map[events.WebhookID]int64) {
	results := make([]scheduler.FetchResult, len(requests))
	for i, r := range requests {
		results[i] = scheduler.FetchResult{WebhookID: r.WebhookID, Rows: rows[r.WebhookID], Next: next[r.WebhookID]}
		if next == nil {
			results[i].Next = scheduler.FetchFailed
		}
	}
	d.input(func(s *scheduler.Scheduler, now scheduler.Now) { s.Fetched(now, results) })
}
