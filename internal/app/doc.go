// Package app runs Fanmail's processes: it reads no flags by itself, so that
// the commands, `fanmail up` and the tests start the same code.
//
// It guarantees:
//
//   - A configuration that cannot work is refused before anything is opened,
//     by an error of one line that names the flag and its environment variable.
//   - A database or broker that cannot be reached at start is waited for, and
//     the log says so every few seconds; the process does not exit. A schema or
//     a stream that does not fit stops it with one line that says what to do.
//   - Each Run function blocks until its context ends, drains for at most
//     Drain, and returns nil. What could not drain in time is named in the error.
//   - /healthz answers from the first moment, /readyz once the process works
//     and until it begins to drain.
//   - [RunUp] leaves no process behind, however it ends, and keeps its data.
package app
