package fanout

import (
	"context"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Round fans out the events that are in the outbox now, without the broker, and
// returns how many it fanned out. It reads all rows of the outbox, also those that
// are leased to a publisher. Run and other calls of Round may run at the same time:
// the transaction that deletes an outbox row inserts its deliveries. The deliveries
// are due at once; no message carries them.
//
// Events that are inserted during the call are left to the next one. After an
// error, the counted events are committed, and the next call continues there.
func (f *Fanout) Round(ctx context.Context) (int, error) {
	last, err := outbox.Drawn(ctx, f.pool)
	if err != nil {
		return 0, err
	}
	done := 0
	var at outbox.Position
	for more := true; more; {
		var entries []outbox.Entry
		if entries, at, more, err = outbox.Page(ctx, f.pool, at, last, batchEvents); err != nil {
			return done, err
		}
		if len(entries) == 0 {
			continue
		}
		n, err := f.fanOutEntries(ctx, entries)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func all(events.WebhookID) bool { return true }

// fanOutEntries commits one batch from the outbox.
func (f *Fanout) fanOutEntries(ctx context.Context, entries []outbox.Entry) (int, error) {
	batch := make([]event, len(entries))
	for i := range entries {
		batch[i] = fromOutbox(&entries[i])
	}
	f.metrics.batch.Observe(float64(len(batch)))
	ctx, spans := begin(ctx, f.tracer, batch)
	b, err := f.commit(ctx, batch, all)
	for errors.Is(err, outbox.ErrMoved) && ctx.Err() == nil { // a publisher leased a row meanwhile
		b, err = f.commit(ctx, batch, all)
	}
	spans.end(err)
	if err != nil {
		f.metrics.failures.WithLabelValues(partyDatabase).Inc()
		return 0, fmt.Errorf("fan out: %w", err)
	}
	f.count(len(batch), b)
	f.wakePolls(b)
	if f.lanes != nil {
		for i := range b.rows {
			f.lanes.Due(b.rows[i].WebhookID)
		}
	}
	return b.fresh, nil
}
