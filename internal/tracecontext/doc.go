// Package tracecontext carries W3C Trace Context between processes: in a
// message's header, in an event's row and in a POST's header.
//
// It guarantees:
//
//   - Only sampled spans travel; everything else is "".
//   - A traceparent that can't be read counts as none.
package tracecontext
