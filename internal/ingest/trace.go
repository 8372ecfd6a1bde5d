package ingest

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// trace begins the span of a mail, from DATA to the reply: the root span of its
// events. end ends it.
func (s *Server) trace(ctx context.Context, began time.Time, size, recipients int) (_ context.Context, end func(error)) {
	if s.o.Tracer == nil {
		return ctx, untraced
	}
	ctx, span := s.o.Tracer.Start(ctx, "receive mail", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began),
		trace.WithAttributes(attribute.Int("fanmail.mail.bytes", size), attribute.Int("fanmail.mail.recipients", recipients)))
	return ctx, func(err error) { telemetry.End(span, err) }
}

func untraced(error) {}

// traced begins the span of a batch. The traces of producers are
// linked, not continued: producers are outsiders and must not decide what is sampled.
func (in *Intake) traced(ctx context.Context, messages []intakeMessage) (_ context.Context, end func()) {
	if in.trace == nil {
		return ctx, func() {}
	}
	o := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"), attribute.Int("messaging.batch.message_count", len(messages)))}
	for i := range messages {
		if theirs := messages[i].msg.Headers().Get(tracecontext.Header); theirs != "" {
			o = append(o, tracecontext.Link(theirs))
		}
	}
	ctx, span := in.trace.Start(ctx, "take in events", o...)
	return ctx, func() { span.End() }
}
