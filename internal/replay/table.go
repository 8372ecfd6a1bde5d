package replay

import (
	"context"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// readBatch is how many events one step reads.
const readBatch = 500

// testEvent is part of the envelope of a test delivery's event. Only the webhook under
// test receives such an event.
var testEvent = []byte(`"data":{"message":"` + subscribers.TestMessage + `","test":true,`)

// window selects the replay's events in the table that were created from since on and
// before until.
func (w *work) window(since, until time.Time) *outbox.Window {
	return &outbox.Window{TenantID: w.ref.TenantID, Since: since, Until: until, Types: w.request.Types, Without: testEvent}
}

// readTable reads the next events before until from the table.
func (w *work) readTable(ctx context.Context, until time.Time) error {
	next := w.cursor
	start := w.request.Since
	if next.phase == phaseAfter {
		start = next.boundary
	}
	var after *events.Record
	if !next.first {
		after = &events.Record{ID: next.atID, CreatedAt: next.atTime}
	}
	list, err := outbox.ReadWindow(ctx, w.pool, w.window(start, until), after, readBatch)
	if err != nil {
		return err
	}
	w.metrics.events.WithLabelValues("postgres").Add(float64(len(list)))
	next.fromTable = next.fromTable || len(list) > 0
	if n := len(list); n > 0 {
		next.first, next.atTime, next.atID = false, list[n-1].CreatedAt, list[n-1].ID
	}
	if len(list) < readBatch {
		switch {
		case next.phase == phaseBefore && next.boundary.Before(w.request.Until):
			next.phase = phaseStream
		default:
			next.phase = phaseDone
		}
	}
	return w.advanceTo(ctx, next, inTable(list), len(list))
}

// switchToTable reads the events from the boundary on from the table instead of the
// stream. They are counted again. Deliveries that exist are recognised by their ids.
func (w *work) switchToTable(ctx context.Context) error {
	next := w.cursor
	next.phase, next.first, next.matched = phaseAfter, true, next.matchedBefore
	return w.advanceTo(ctx, next, nil, 0)
}
