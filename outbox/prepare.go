package outbox

import (
	"context"
	"math"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// Prepared is a valid event with its id and its encoded envelope. [Prepare] creates it; the zero value is invalid.
type Prepared struct {
	id         events.ID
	event      events.Event // without Data, which the envelope contains
	head, tail []byte       // the envelope before and after the creation time
	trace      string       // the traceparent; "": that of the insert
	uncounted  int32        // bytes that the fan-out counts for the tenant; 0: nothing
	unchecked  bool         // the type is no built-in one, and nobody has looked it up
	// The hashes by which it is found; 0: none.
	message, header int64
}

// Prepare validates and encodes an event for [InsertPrepared]. It needs no database, so a caller can do this work before
// its transaction begins and refuse an invalid event alone. Every error wraps an [*events.FieldError].
func Prepare(ev events.Event) (Prepared, error) {
	id := events.NewID()
	if ev.IdempotencyKey != "" {
		id = events.DeriveID(ev.TenantID, ev.IdempotencyKey, ev.Type)
	}
	head, tail, err := ev.Encode(id)
	if err != nil {
		return Prepared{}, err
	}
	size := min(len(ev.Data), math.MaxInt32)
	message, header := searchKeys(&ev)
	ev.Data = nil
	return Prepared{
		id: id, event: ev, head: head, tail: tail, uncounted: int32(size), message: message, header: header, unchecked: !ev.Type.Known(),
	}, nil
}

// Checked returns the event for a caller that has looked its type up. Otherwise [InsertPrepared] does, if the type is no
// built-in one.
func (p Prepared) Checked() Prepared {
	p.unchecked = false
	return p
}

// Traced returns the event with its deliveries traced under the span of ctx. Use it to insert events of several traces in
// one call. Without a sampled span, the span of the insert counts.
func (p Prepared) Traced(ctx context.Context) Prepared {
	p.trace = tracecontext.Of(ctx)
	return p
}

// Counted returns the event for a caller that counts it against the tenant's quota itself. Other events are counted when
// they are fanned out, with the bytes of their data.
func (p Prepared) Counted() Prepared {
	p.uncounted = 0
	return p
}
