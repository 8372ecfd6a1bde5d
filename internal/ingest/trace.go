package ingest

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// trace begins the span of a mail, from DATA to the reply: the root span of its
// events. end ends it.
func (s *receiver) trace(ctx context.Context, began time.Time, size int64, recipients int) (_ context.Context, end func(error)) {
	if s.o.Tracer == nil {
		return ctx, untraced
	}
	ctx, span := s.o.Tracer.Start(ctx, "receive mail", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began),
		trace.WithAttributes(attribute.Int64("fanmail.mail.bytes", size), attribute.Int("fanmail.mail.recipients", recipients)))
	return ctx, func(err error) { telemetry.End(span, err) }
}

func untraced(error) {}
