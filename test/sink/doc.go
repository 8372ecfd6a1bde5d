// Package sink is a real HTTP receiver of webhooks for tests and benchmarks.
//
// It guarantees:
//
//   - Every request whose body has arrived is in the record, in the order of
//     arrival, before it is answered; the record is only ever appended to.
//   - Each request is verified as it arrives by two implementations that share no code; see [Verify].
//   - Each path answers by its own [Script]; a path without one answers 200.
//   - [Sink.Wait] and its siblings return on the arrival that makes them true;
//     nothing polls.
//
// With [KeepTimes] or [KeepCounts] it keeps and verifies no bodies, so that it
// costs a benchmark little.
package sink
