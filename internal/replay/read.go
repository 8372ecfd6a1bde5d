package replay

import (
	"context"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	// maxFound is how many found events of a webhook may wait to be enqueued before
	// reading pauses.
	maxFound = 10_000
	// countBatch is how many events one step of phaseCheck counts.
	countBatch = 20_000
)

// read reads the next events and reports whether it made progress. It pauses while a
// webhook has maxFound events that are not enqueued.
func (w *work) read(ctx context.Context) (bool, error) {
	for _, t := range w.targets {
		if t.rows[stateFound] >= maxFound {
			return false, nil
		}
	}
	switch w.cursor.phase {
	case phaseWait:
		return w.begin(ctx)
	case phaseBefore:
		return true, w.readTable(ctx, w.cursor.boundary)
	case phaseStream:
		return w.readStream(ctx)
	case phaseCheck:
		return true, w.check(ctx)
	case phaseAfter:
		return true, w.readTable(ctx, w.request.Until)
	case phaseDone:
	}
	return false, nil
}

// begin ends phaseWait when no event of the window is left in the outbox. From then on
// the messages of all events of the window are in the stream.
func (w *work) begin(ctx context.Context) (bool, error) {
	waits, err := outbox.WaitsBefore(ctx, w.pool, w.ref.TenantID, w.request.Until)
	if err != nil {
		return false, err
	}
	if waits {
		return false, w.renew(ctx)
	}
	next := w.cursor
	e, err := w.streamExtent(ctx)
	if err != nil {
		return false, w.fault(ctx, err)
	}
	next.boundary, next.endSeq = e.boundary, e.last
	next.phase, next.first = phaseBefore, true
	if !next.boundary.After(w.request.Since) {
		next.phase = phaseStream
	}
	w.log.Info("a replay begins", zap.Time("since", w.request.Since), zap.Time("until", w.request.Until), zap.Time("boundary", next.boundary))
	return true, w.advanceTo(ctx, next, nil, 0)
}

// check counts the window's events in the table. If the stream gave another number,
// the broker lost messages that its state does not show, and the table is read.
func (w *work) check(ctx context.Context) error {
	c := &w.counted
	n, last, err := outbox.CountWindow(ctx, w.pool, w.window(w.cursor.boundary, w.request.Until), c.last, countBatch)
	if err != nil {
		return err
	}
	c.events += int64(n)
	if n == countBatch {
		c.last = last
		return w.renew(ctx)
	}
	next := w.cursor
	if c.events == next.seen {
		next.phase = phaseDone
		return w.advanceTo(ctx, next, nil, 0)
	}
	w.log.Info("the stream lacks events of the window; reading them from the table",
		zap.Int64("stream", next.seen), zap.Int64("table", c.events))
	return w.switchToTable(ctx)
}
