package relay

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// traced calls publish with the messages. Each message with a traceparent gets
// a span, which becomes the message's traceparent. A nil tracer makes no spans.
func traced(ctx context.Context, tracer trace.Tracer, msgs []*nats.Msg, publish func(context.Context, []*nats.Msg) error) error {
	if tracer == nil {
		return publish(ctx, msgs)
	}
	var spans []trace.Span
	for _, m := range msgs {
		parent, ok := m.Header[tracecontext.Header]
		if !ok {
			continue
		}
		traced, span := tracer.Start(tracecontext.Remote(ctx, parent[0]), "publish event",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
				attribute.String("messaging.system", "nats"),
				attribute.String("messaging.destination.name", m.Subject),
				attribute.String("messaging.message.id", m.Header.Get(jetstream.MsgIDHeader)),
				attribute.String("fanmail.event.id", m.Header.Get(stream.HeaderEvent)),
			))
		if own := tracecontext.Of(traced); own != "" {
			m.Header[tracecontext.Header] = []string{own}
		}
		spans = append(spans, span)
	}
	err := publish(ctx, msgs)
	for _, s := range spans {
		telemetry.End(s, err)
	}
	return err
}
