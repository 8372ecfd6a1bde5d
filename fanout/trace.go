package fanout

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// spans are the spans of a batch's traced events.
type spans []trace.Span

func (s spans) end(err error) {
	for _, span := range s {
		telemetry.End(span, err)
	}
}

// begin starts the span of each traced event of a batch and makes it the event's
// traceparent. The batch has one transaction: it appears under the first span,
// and the other spans are linked to that one. tracer may be nil.
func begin(ctx context.Context, tracer trace.Tracer, batch []event) (context.Context, spans) {
	if tracer == nil {
		return ctx, nil
	}
	var begun spans
	work := ctx
	for i := range batch {
		e := &batch[i]
		if e.parent == "" {
			continue
		}
		o := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.Int("messaging.batch.message_count", len(batch)), attribute.String("fanmail.event.id", e.ID.String()))}
		if e.msg != nil {
			o = append(o, trace.WithAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", e.msg.Subject())))
		}
		if len(begun) > 0 {
			o = append(o, trace.WithLinks(trace.LinkFromContext(work)))
		}
		traced, span := tracer.Start(tracecontext.Remote(ctx, e.parent), "fan out event", o...)
		if len(begun) == 0 {
			work = traced
		}
		begun = append(begun, span)
		e.traceparent = tracecontext.Of(traced)
	}
	return work, begun
}
