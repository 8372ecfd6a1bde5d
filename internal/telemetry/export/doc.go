// Package export sends the spans of a process to an OTLP endpoint.
//
// [Start] reads the standard OTEL_* variables. Without an endpoint in them there is no
// tracing: Start returns a nil [*Tracing], which returns nil tracers and does not change
// connections or handlers.
//
// Tracing never blocks the process. [Start] does not wait for the endpoint. A failed export
// is logged and loses its spans. [Tracing.Stop] takes at most one second.
package export
