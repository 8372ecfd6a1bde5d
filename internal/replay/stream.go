package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// maxFaults is the number of consecutive broker failures after which the events are
// read from the table.
const maxFaults = 5

// extent is the part of the window that the stream has.
type extent struct {
	// boundary is the creation time from which on the stream has the events, according
	// to the stream's state. phaseCheck verifies it.
	boundary time.Time
	last     int64 // the stream's last sequence
}

// streamExtent looks up what the stream has of the window: nothing if there is no broker or
// no stream.
func (w *work) streamExtent(ctx context.Context) (extent, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
	defer cancel()
	none := extent{boundary: w.request.Until}
	if w.js == nil || !w.js.Conn().IsConnected() {
		return none, nil
	}
	s, err := w.js.Stream(ctx, stream.Events)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("look up stream %s: %w", stream.Events, err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return none, nil
	}
	e := extent{boundary: w.request.Since, last: int64(state.LastSeq)} //nolint:gosec // a stream does not reach 2^63 messages
	if state.FirstSeq > 1 {
		// An event that was created before the stream's first message was stored may have
		// had an earlier message, which is gone.
		e.boundary = state.FirstTime.Add(w.skew)
	}
	if e.boundary.Before(w.request.Since) {
		e.boundary = w.request.Since
	}
	if e.boundary.After(w.request.Until) {
		e.boundary = w.request.Until
	}
	return e, nil
}

// page returns the next request of messages. It continues behind the cursor: at first by time, at the boundary, later by
// sequence.
func (w *work) page() stream.Page {
	p := stream.Page{Stream: stream.Events, Subject: events.EventSubjects(w.ref.TenantID, w.request.Types), Limit: readBatch}
	if w.cursor.atSeq > 0 {
		p.From = uint64(w.cursor.atSeq) + 1
	} else {
		// A message is stored after its event was created. The two clocks may differ.
		p.Since = w.cursor.boundary.Add(-w.skew)
	}
	return p
}

// readStream reads the next messages of the window and reports whether there were any.
func (w *work) readStream(ctx context.Context) (bool, error) {
	ask, cancel := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
	defer cancel()
	if w.cursor.atSeq >= w.cursor.endSeq {
		return true, w.endStream(ctx)
	}
	batch, err := stream.Read(ask, w.js, w.page())
	if err != nil {
		return false, w.fault(ctx, err)
	}
	if len(batch) == 0 {
		return true, w.endStream(ctx)
	}
	next := w.cursor
	list, copies := w.decode(batch, &next)
	w.faults = 0
	w.metrics.events.WithLabelValues("jetstream").Add(float64(len(list) + len(copies)))
	next.seen += int64(len(list))
	next.fromStream = next.fromStream || len(list)+len(copies) > 0
	return true, w.advanceTo(ctx, next, append(list, copies...), len(list))
}

// decode decodes a batch of messages and moves next behind it. list holds the events
// of the window, copies further messages of events that were published repeatedly.
func (w *work) decode(batch []*jetstream.RawStreamMsg, next *cursor) (list, copies []found) {
	for _, m := range batch {
		next.atSeq = int64(m.Sequence) //nolint:gosec // a stream does not reach 2^63 messages
		if next.atSeq > next.endSeq {
			continue
		}
		e, err := stream.DecodeEvent(m.Subject, m.Header)
		if err != nil {
			w.log.Warn("ignoring a message on the event stream that is not Fanmail's", zap.String("subject", m.Subject), zap.Error(err))
			continue
		}
		if !w.request.selects(e.Type) {
			continue
		}
		if e.CreatedAt.Before(next.boundary) || !e.CreatedAt.Before(w.request.Until) {
			continue
		}
		// An event that was published repeatedly has several messages, under different
		// message ids. Only the first one is counted; phaseCheck notices if it is missing.
		if m.Header.Get(jetstream.MsgIDHeader) == e.ID.String() {
			list = append(list, found{e, m.Data})
		} else {
			copies = append(copies, found{e, m.Data})
		}
	}
	return list, copies
}

// endStream ends phaseStream.
func (w *work) endStream(ctx context.Context) error {
	next := w.cursor
	next.phase = phaseCheck
	return w.advanceTo(ctx, next, nil, 0)
}

// fault handles a failure of the broker. The next step reads at the cursor again. After
// maxFaults in a row, and if the broker does not answer at all, the
// events are read from the table.
func (w *work) fault(ctx context.Context, err error) error {
	w.metrics.failures.WithLabelValues("broker").Inc()
	w.faults++
	lost := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, stream.ErrNoAck) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
	if !lost && w.faults < maxFaults {
		w.log.Warn("the broker failed a step of a replay; trying again", zap.Error(err))
		return w.renew(ctx)
	}
	w.log.Warn("the broker failed a replay; reading the events from the table", zap.Error(err))
	w.faults = 0
	if w.cursor.phase == phaseWait {
		w.cursor.boundary = w.request.Since
	}
	return w.switchToTable(ctx)
}
