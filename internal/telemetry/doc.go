// Package telemetry follows one mail through the processes as an OpenTelemetry
// trace.
//
// The context of a trace goes from process to process as a W3C traceparent: in a
// column of events, which is NULL unless the transaction that made the event was
// sampled, in the headers of the broker's messages, and in the header of the POST.
// So everything that becomes of an event hangs in one tree, whoever does it and
// however much later: publication, fan-out, each attempt, retries included.
//
// Packages take a tracer in their options, and one that is nil has them take no
// step and make no allocation that they would not have made without this package.
// A trace never decides anything: a traceparent that cannot be read begins a trace
// of its own.
//
// Who exports the spans, and where to, is telemetry/export's business.
package telemetry
