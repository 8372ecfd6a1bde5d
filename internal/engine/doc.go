// Package engine wires Fanmail's parts together: the Go client and the processes
// of package app start the same parts through it.
//
// It guarantees:
//
//   - Background work runs on connections with the settings that its statements
//     were planned with ([Pool]); the pool of an embedding application stays as it
//     is.
//   - [Dispatcher] starts fan-out, delivery, replays, operational events, the
//     agents' own webhooks and maintenance as parts that end with their context.
//   - [Round] does the same work once, without a broker, and returns when all that
//     was due is recorded.
//
// It reads no flags and no environment, and it connects nothing by itself.
package engine
