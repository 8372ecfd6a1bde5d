// Package export sends a process's spans to an OTLP endpoint.
//
// [Start] reads the standard OTEL_* environment. Without an endpoint in it there
// is no tracing: a nil [*Tracing] gives nil tracers and leaves connections and
// handlers as they are.
//
// It never stands in the way: starting does not wait for the endpoint, an export
// that fails is a line in the log and loses its spans, and stopping is bounded.
package export
