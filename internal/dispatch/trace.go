package dispatch

import (
	"cmp"
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// via is the value of fanmail.via by source.
var via = [...]string{fromFanout: "feed", fromStream: "stream", fromTable: "table"}

// startSpan begins the span of an attempt of a traced delivery.
func (d *Dispatcher) startSpan(ctx context.Context, q *delivery) (context.Context, trace.Span) {
	return d.o.Tracer.Start(tracecontext.Remote(ctx, q.traceparent), "POST webhook",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("http.request.method", http.MethodPost),
			attribute.String("fanmail.event.id", q.eventID.String()),
			attribute.String("fanmail.delivery.id", q.ID.String()),
			attribute.String("fanmail.webhook.id", q.WebhookID.String()),
			attribute.Int("fanmail.attempt", q.Attempts+1),
			attribute.String("fanmail.via", via[q.source]),
		))
}

// endSpan ends the span of an attempt and logs it.
func (d *Dispatcher) endSpan(ctx context.Context, span trace.Span, q *delivery, r *attempt.Result) {
	if r.StatusCode != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", r.StatusCode))
	}
	if !r.Delivered {
		span.SetAttributes(attribute.String("error.type", r.Reason))
		span.SetStatus(codes.Error, cmp.Or(r.Detail, r.Error))
	}
	span.End()
	d.log.Debug("attempt", zap.Stringer("event", q.eventID), zap.Stringer("delivery", q.ID), zap.Stringer("webhook", q.WebhookID),
		zap.Int("attempt", q.Attempts+1), zap.String("reason", r.Reason), zap.Int("status", r.StatusCode), zap.Duration("took", r.Duration), telemetry.ID(ctx))
}

// observe records a value, with its trace where there is one.
func observe(ctx context.Context, span trace.Span, h prometheus.Histogram, value float64) {
	if span == nil {
		h.Observe(value)
		return
	}
	telemetry.Observe(ctx, h, value)
}
