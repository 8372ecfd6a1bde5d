package fanout

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// spans are those of a batch's traced events.
type spans []trace.Span

func (s spans) end(err error) {
	for _, span := range s {
		telemetry.End(span, err)
	}
}

// trace begins the span of each traced event of a batch, which becomes the
// event's traceparent. The batch's transaction is one for all of them: it shows
// under the first, and the others are linked to that.
func (f *Fanout) trace(ctx context.Context, batch []event) (context.Context, spans) {
	if f.tracer == nil {
		return ctx, nil
	}
	var begun spans
	work := ctx
	for i := range batch {
		e := &batch[i]
		parent := e.msg.Headers().Get(telemetry.Header)
		if parent == "" {
			continue
		}
		o := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.destination.name", e.msg.Subject()),
			attribute.Int("messaging.batch.message_count", len(batch)),
			attribute.String("fanmail.event.id", e.id.String()),
		)}
		if len(begun) > 0 {
			o = append(o, trace.WithLinks(trace.LinkFromContext(work)))
		}
		traced, span := f.tracer.Start(telemetry.Remote(ctx, parent), "fan out event", o...)
		if len(begun) == 0 {
			work = traced
		}
		begun = append(begun, span)
		e.traceparent = telemetry.Traceparent(traced)
	}
	return work, begun
}
