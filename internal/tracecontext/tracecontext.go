package tracecontext

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Header is the name of the header that carries a traceparent.
const Header = "traceparent"

// propagator reads and writes traceparents. The tracestate of vendors is not
// passed on.
var propagator = propagation.TraceContext{}

// Of encodes the span of ctx: 55 characters, or "" if it is not sampled.
func Of(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	c := propagation.MapCarrier{}
	propagator.Inject(ctx, c)
	return c[Header]
}

// Remote returns a context in which a new span becomes a child of the span that
// traceparent names.
func Remote(ctx context.Context, traceparent string) context.Context {
	return propagator.Extract(ctx, propagation.MapCarrier{Header: traceparent})
}

// Link returns the option that links a new span to the one that traceparent
// names.
func Link(traceparent string) trace.SpanStartOption {
	return trace.WithLinks(trace.LinkFromContext(Remote(context.Background(), traceparent)))
}
