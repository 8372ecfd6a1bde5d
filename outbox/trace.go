package outbox

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// begin starts the span of an insert under the sampled span of ctx, with its tracer, so that
// callers need not pass one. Without such a span it does nothing. Call ended after the insert.
func begin(ctx context.Context, n int) (_ context.Context, ended func()) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func() {}
	}
	ctx, span := parent.TracerProvider().Tracer("github.com/fanmail-dev/fanmail/outbox").Start(ctx, "insert events",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.Int("fanmail.events", n)))
	return ctx, func() { span.End() }
}
