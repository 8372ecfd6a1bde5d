// Package telemetry traces a mail through all processes with OpenTelemetry.
//
// The trace context travels as a W3C traceparent: in a column of the table events, in the
// headers of messages on the broker, and in a header of the POST. The column is NULL unless
// the span around the insert was sampled. Everything that happens to an event is in one
// trace: its publication, its fan-out and each attempt, retries included.
//
// Packages take a tracer in their options. If it is nil, they do no additional work and no
// additional allocations. A trace never changes behaviour: an invalid traceparent starts a
// new trace.
//
// Package telemetry/export exports the spans.
package telemetry
