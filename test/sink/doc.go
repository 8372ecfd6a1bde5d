// Package sink is a real HTTP receiver of webhooks for tests and benchmarks. It guarantees:
//
//   - A request whose body has arrived is recorded, in order of arrival, before it is answered.
//   - The record is append-only.
//   - Each request is verified as it arrives by two implementations that share no code; see [Verify].
//   - Each path answers by its own [Script]; a path without one answers 200.
//   - [Sink.Wait] and its siblings return on the arrival that makes them true; they never poll.
//
// With [KeepTimes] or [KeepCounts] it neither keeps nor verifies bodies, so that it costs a benchmark
// little.
package sink
