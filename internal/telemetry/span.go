package telemetry

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// End ends a span. If err is not nil, the span has the status Error.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Observe records a value in a histogram. If the trace of ctx is sampled, it becomes the
// exemplar of the value.
func Observe(ctx context.Context, h prometheus.Histogram, value float64) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if e, ok := h.(prometheus.ExemplarObserver); ok {
			e.ObserveWithExemplar(value, prometheus.Labels{"trace_id": sc.TraceID().String(), "span_id": sc.SpanID().String()})
			return
		}
	}
	h.Observe(value)
}

// ID returns a log field with the ids of trace and span of ctx. It adds nothing if there is
// no sampled trace.
func ID(ctx context.Context) zap.Field {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		return zap.Inline(ids(sc))
	}
	return zap.Skip()
}

// ids is a span context that is logged as trace_id and span_id.
type ids trace.SpanContext

// MarshalLogObject adds trace_id and span_id.
func (s ids) MarshalLogObject(e zapcore.ObjectEncoder) error {
	sc := trace.SpanContext(s)
	e.AddString("trace_id", sc.TraceID().String())
	e.AddString("span_id", sc.SpanID().String())
	return nil
}
