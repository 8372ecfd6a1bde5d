package outbox

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// begin begins the span of an insert with the tracer of its parent, so that
// callers need not hand one in.
func begin(ctx context.Context, parent trace.Span, n int) (context.Context, trace.Span) {
	return parent.TracerProvider().Tracer("github.com/fanmail-dev/fanmail/outbox").Start(ctx, "insert events",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.Int("fanmail.events", n)))
}

// traced publishes the messages. Those that carry a traceparent each get a
// span, which takes the traceparent's place.
func (r *Relay) traced(ctx context.Context, msgs []*nats.Msg) error {
	if r.tracer == nil {
		return r.publish(ctx, msgs)
	}
	var spans []trace.Span
	for _, m := range msgs {
		parent, ok := m.Header[telemetry.Header]
		if !ok {
			continue
		}
		traced, span := r.tracer.Start(telemetry.Remote(ctx, parent[0]), "publish event",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
				attribute.String("messaging.system", "nats"),
				attribute.String("messaging.destination.name", m.Subject),
				attribute.String("messaging.message.id", m.Header.Get(jetstream.MsgIDHeader)),
				attribute.String("fanmail.event.id", m.Header.Get(stream.HeaderEvent)),
			))
		if own := telemetry.Traceparent(traced); own != "" {
			m.Header[telemetry.Header] = []string{own}
		}
		spans = append(spans, span)
	}
	err := r.publish(ctx, msgs)
	for _, s := range spans {
		telemetry.End(s, err)
	}
	return err
}
