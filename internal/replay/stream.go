package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
)

// maxFaults is the number of broker failures in a row after which the events are
// read from the table.
const maxFaults = 5

// horizon is how far back the stream reaches.
type horizon struct {
	// seam is the creation time from which on the stream has the events, as far
	// as the stream's state shows. The check verifies it.
	seam time.Time
	last int64 // the stream's last sequence
}

func (w *work) horizon(ctx context.Context) (horizon, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
	defer cancel()
	none := horizon{seam: w.request.Until}
	if w.js == nil { // a round without a broker: the table has everything
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
	h := horizon{seam: w.request.Since, last: int64(state.LastSeq)} //nolint:gosec // a stream's sequences are far below
	if state.FirstSeq > 1 {
		// An event that was made before the first message may have been relayed
		// before it, too.
		h.seam = state.FirstTime.Add(w.o.Skew)
	}
	if h.seam.Before(w.request.Since) {
		h.seam = w.request.Since
	}
	if h.seam.After(w.request.Until) {
		h.seam = w.request.Until
	}
	return h, nil
}

// subjects are what a consumer is to filter by.
func (w *work) subjects() []string {
	if len(w.request.Types) == 0 {
		return []string{events.EventsPrefix + w.ref.TenantID.String() + ".>"}
	}
	var out []string
	for _, t := range w.request.Types {
		out = append(out, events.EventSubject(w.ref.TenantID, t))
	}
	return out
}

// position creates a consumer at the place to continue from: first the window's
// start by time, later the sequence after the last one read. The consumer gets
// headers only: matching needs no more.
func (w *work) position(ctx context.Context) error {
	c := jetstream.ConsumerConfig{
		Description:    "Replay " + w.id.String() + ".",
		FilterSubjects: w.subjects(), AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}
	if w.place.atSeq > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, uint64(w.place.atSeq)+1
	} else {
		// A message is younger than its event, but for the clocks' difference.
		start := w.place.seam.Add(-w.o.Skew)
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	consumer, err := w.js.CreateConsumer(ctx, stream.Events, c)
	if err != nil {
		return fmt.Errorf("position a consumer: %w", err)
	}
	w.consumer, w.next = consumer, 1
	return nil
}

// readStream reads the next messages of the window.
func (w *work) readStream(ctx context.Context) (bool, error) {
	ask, cancel := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
	defer cancel()
	if w.place.atSeq >= w.place.endSeq {
		return true, w.endStream(ctx)
	}
	if w.consumer == nil {
		if err := w.position(ask); err != nil {
			return false, w.fault(ctx, err)
		}
	}
	batch, err := w.consumer.FetchNoWait(readBatch)
	if err != nil {
		return false, w.fault(ctx, fmt.Errorf("fetch from the stream: %w", err))
	}
	next := w.place
	list, copies, err := w.sort(batch, &next)
	if err != nil {
		return false, w.fault(ctx, err)
	}
	if err := batch.Error(); err != nil {
		return false, w.fault(ctx, fmt.Errorf("fetch from the stream: %w", err))
	}
	if next.atSeq == w.place.atSeq {
		info, err := w.consumer.Info(ask)
		if err != nil {
			return false, w.fault(ctx, fmt.Errorf("look at the consumer: %w", err))
		}
		if info.NumPending == 0 {
			return true, w.endStream(ctx)
		}
		return false, w.fenced(ctx, func(pgx.Tx) error { return nil })
	}
	w.faults = 0
	w.metrics.events.WithLabelValues("jetstream").Add(float64(len(list) + len(copies)))
	next.seen += int64(len(list))
	next.stream = next.stream || len(list)+len(copies) > 0
	return true, w.found(ctx, next, append(list, copies...), len(list))
}

// sort reads a batch of messages and moves next behind it. list are the events of
// the window, copies those that were relayed again.
func (w *work) sort(batch jetstream.MessageBatch, next *place) (list, copies []events.Record, err error) {
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, nil, fmt.Errorf("read a message of the stream: %w", err)
		}
		if meta.Sequence.Consumer != w.next {
			return nil, nil, errors.New("messages of the stream were lost on the way")
		}
		w.next++
		next.atSeq = int64(meta.Sequence.Stream) //nolint:gosec // far below
		if next.atSeq > next.endSeq {
			continue
		}
		e, err := stream.DecodeEvent(m.Subject(), m.Headers())
		if err != nil {
			w.log.Warn("a message on the event stream is not Fanmail's; leaving it out", zap.String("subject", m.Subject()), zap.Error(err))
			continue
		}
		if e.CreatedAt.Before(next.seam) || !e.CreatedAt.Before(w.request.Until) {
			continue
		}
		// An event that was relayed again is in the stream several times, under other
		// message ids. Only its first message counts; the check notices if that is
		// missing.
		if m.Headers().Get(jetstream.MsgIDHeader) == e.ID.String() {
			list = append(list, e)
		} else {
			copies = append(copies, e)
		}
	}
	return list, copies, nil
}

func (w *work) endStream(ctx context.Context) error {
	next := w.place
	next.phase = phaseCheck
	return w.found(ctx, next, nil, 0)
}

// check counts the window's events in the table. If the stream gave fewer, the
// broker has lost data without noticing, and the table is read.
func (w *work) check(ctx context.Context) error {
	c := &w.count
	n, last, err := outbox.CountWindow(ctx, w.pool, w.window(w.place.seam, w.request.Until), c.last, countBatch)
	if err != nil {
		return err
	}
	c.events += int64(n)
	if n == countBatch {
		c.last = last
		return w.fenced(ctx, func(pgx.Tx) error { return nil })
	}
	next := w.place
	if c.events == next.seen {
		next.phase = phaseRead
		return w.found(ctx, next, nil, 0)
	}
	w.log.Info("the stream lacks events of the window; reading them from the table",
		zap.Int64("stream", next.seen), zap.Int64("table", c.events))
	return w.toTable(ctx)
}

// toTable switches from the stream to the table. The table's events are read and
// counted from the start. Deliveries already created are recognised by their ids.
func (w *work) toTable(ctx context.Context) error {
	next := w.place
	next.phase, next.fresh, next.matched = phaseAfter, true, next.before
	return w.found(ctx, next, nil, 0)
}

// fault handles a failure of the broker. The next step creates a new consumer at
// the stored place. After maxFaults in a row the events are read from the table.
func (w *work) fault(ctx context.Context, err error) error {
	w.metrics.failures.WithLabelValues("broker").Inc()
	w.dropConsumer(ctx)
	w.faults++
	lost := errors.Is(err, jetstream.ErrStreamNotFound)
	if !lost && w.faults < maxFaults {
		w.log.Warn("the broker failed a replay; trying again", zap.Error(err))
		return w.fenced(ctx, func(pgx.Tx) error { return nil })
	}
	w.log.Warn("a replay goes on without the broker", zap.Error(err))
	w.faults = 0
	if w.place.phase == phaseGate {
		w.place.seam = w.request.Since
	}
	return w.toTable(ctx)
}

func (w *work) dropConsumer(ctx context.Context) {
	if w.consumer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = w.js.DeleteConsumer(ctx, stream.Events, w.consumer.CachedInfo().Name) // on failure the broker removes it after a minute
	w.consumer = nil
}

// close deletes the consumer.
func (w *work) close(ctx context.Context) { w.dropConsumer(ctx) }
