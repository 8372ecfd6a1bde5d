package telemetry

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// End ends a span, as failed where there is an error.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Observe records a value, with the trace of ctx as its exemplar where it is
// sampled.
func Observe(ctx context.Context, h prometheus.Histogram, value float64) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if e, ok := h.(prometheus.ExemplarObserver); ok {
			e.ObserveWithExemplar(value, prometheus.Labels{"trace_id": sc.TraceID().String(), "span_id": sc.SpanID().String()})
			return
		}
	}
	h.Observe(value)
}

// ID is the log field that names the trace of ctx; nothing is logged where
// there is none.
func ID(ctx context.Context) zap.Field {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		return zap.Inline(ids(sc))
	}
	return zap.Skip()
}

// ids writes both ids of a span into a line of the log.
type ids trace.SpanContext

// MarshalLogObject adds the fields.
func (s ids) MarshalLogObject(e zapcore.ObjectEncoder) error {
	sc := trace.SpanContext(s)
	e.AddString("trace_id", sc.TraceID().String())
	e.AddString("span_id", sc.SpanID().String())
	return nil
}
