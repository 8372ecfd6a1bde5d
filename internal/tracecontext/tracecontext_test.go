package tracecontext_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

func TestATraceparentLeadsToTheNextSpan(t *testing.T) {
	t.Parallel()
	tracer := sdktrace.NewTracerProvider().Tracer("test")
	ctx, first := tracer.Start(t.Context(), "first")
	carried := tracecontext.Of(ctx)
	require.Len(t, carried, 55)
	next, second := tracer.Start(tracecontext.Remote(context.Background(), carried), "second")
	require.Equal(t, first.SpanContext().TraceID(), second.SpanContext().TraceID())
	require.Equal(t, first.SpanContext().SpanID(), second.(sdktrace.ReadOnlySpan).Parent().SpanID())

	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Help: "h", Buckets: []float64{1}})
	telemetry.Observe(next, h, 0.5)
	registry := prometheus.NewRegistry()
	registry.MustRegister(h)
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Contains(t, families[0].String(), second.SpanContext().TraceID().String())

	core, logs := observer.New(zap.InfoLevel)
	zap.New(core).Info("x", telemetry.ID(next))
	require.Equal(t, map[string]any{
		"trace_id": second.SpanContext().TraceID().String(), "span_id": second.SpanContext().SpanID().String(),
	}, logs.All()[0].ContextMap())
}

func TestWhatIsNotSampledTravelsNowhere(t *testing.T) {
	t.Parallel()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test")
	ctx, _ := tracer.Start(t.Context(), "first")
	require.Empty(t, tracecontext.Of(ctx))
	require.Equal(t, zapcore.SkipType, telemetry.ID(ctx).Type)
}

func TestAnUnreadableTraceparentIsNone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "x", "00-0-0-01", "00-00000000000000000000000000000000-0000000000000000-01"} {
		require.False(t, trace.SpanContextFromContext(tracecontext.Remote(t.Context(), bad)).IsValid(), bad)
	}
}

// steps are what the hot path does for a trace that there is not: at an insert,
// an attempt and a line of the log.
func steps(ctx context.Context, h prometheus.Histogram) {
	if tracecontext.Of(ctx) != "" || trace.SpanFromContext(ctx).IsRecording() {
		panic("there is no trace")
	}
	telemetry.Observe(ctx, h, 0.5)
	_ = telemetry.ID(ctx)
}

func untraced(parent context.Context) (context.Context, context.CancelFunc, prometheus.Histogram) {
	ctx, cancel := context.WithCancel(parent)
	return ctx, cancel, prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Help: "h", Buckets: []float64{1}})
}

func TestWithoutATraceNothingIsAllocated(t *testing.T) {
	ctx, cancel, h := untraced(t.Context())
	defer cancel()
	require.Zero(t, testing.AllocsPerRun(1000, func() { steps(ctx, h) }))
}

func BenchmarkWithoutATrace(b *testing.B) {
	ctx, cancel, h := untraced(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		steps(ctx, h)
	}
}
