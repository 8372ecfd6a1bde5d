// Package scheduler decides which delivery a dispatcher sends next. It is pure:
// its inputs are events and a time, its outputs are commands. It reads no clock,
// starts no goroutine and has no lock; the caller serializes the calls.
//
// The caller offers leased rows with Add and reports what happens with Finish,
// Recorded, Renewed, Fetched, Due, Change, Own, Lease and Block. After an input,
// or a batch of them, it calls Advance and carries out Commands.
//
// It guarantees:
//
//   - A webhook never has more attempts in flight than its MaxInFlight, one if
//     it is strict, and never starts more than its RateLimit allows.
//   - No attempt starts for a partition that is not owned, after the lease of
//     the partitions, under a row's lease that may end before the attempt, or
//     while outcomes can't be written.
//   - A free slot goes to the tenant with the fewest attempts in flight in that
//     pool. A tenant gets a slot only while it holds fewer than are free.
//   - An attempt that takes a second moves to the slow pool, and its lane stays
//     there until the endpoint answers within a second.
//   - First attempts go ahead of retries and replays, which get every fourth
//     start of their lane.
//   - An open breaker lets one probe through after each rest; the rests double.
//   - Every delivery that Add queues gets exactly one end: an attempt that is
//     finished, a release, or an end without an attempt. A renewal that fails
//     forgets it. After Stop nothing stays queued.
//   - Beyond the memory budget a lane holds one delivery.
//
// The files form layers. A file refers only to files that come later in this
// list:
//
//	inspect, advance                            what the caller asks
//	settings, fetch, finish, start, admission   its other inputs
//	consider, slowlanes                         what a lane may do now
//	scheduler                                   the type
//	slowstart, timers, pool, inflight, command
//	lane
//	breaker, budget, observed, window, queue, result, webhook, clock
package scheduler
