// Package app configures and runs Fanmail's processes. The commands, `fanmail up`
// and the tests start the same code.
//
// It guarantees:
//
//   - A wrong configuration is rejected before any connection is opened. The error
//     has one line and names the flag and its environment variable.
//   - If the database or the broker is unreachable at start, the process waits and
//     logs that every few seconds. If the schema or a stream is not supported, the
//     process stops with one line that says what to do.
//   - Each Run function blocks until its context ends, drains for at most Drain and
//     returns nil. An error names the components that did not drain in time.
//   - /healthz succeeds from the start of the process. /readyz succeeds while the
//     process works, until it begins to drain.
//   - [RunUp] leaves no process behind, however it ends, and keeps its data.
package app
