package outbox

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// begin starts the span of an insert with its parent's tracer, so that callers
// need not pass one.
func begin(ctx context.Context, parent trace.Span, n int) (context.Context, trace.Span) {
	return parent.TracerProvider().Tracer("github.com/fanmail-dev/fanmail/outbox").Start(ctx, "insert events",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.Int("fanmail.events", n)))
}
