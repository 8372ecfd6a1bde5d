// Package dispatch delivers: it owns partitions of webhooks, queues their
// deliveries in lanes, POSTs them signed, and records the outcomes.
//
// What goes next is decided by package scheduler, which is pure. This package
// is the shell around it: one lock, and goroutines that carry out its commands.
//
// It guarantees:
//
//   - A partition has one owner at a time, so a webhook's max_in_flight and
//     rate_limit hold over all replicas. An owner that can't renew its lease
//     starts no attempt after the lease's end.
//   - A delivery is POSTed only under a lease of its row that outlives the
//     attempt. A second message of a delivery that is held is dropped.
//   - An endpoint that hangs or fails holds at most its own lane and slots of
//     the slow pool. A lane is bounded; what does not fit is released to the
//     table, due, and is fetched when the lane has room.
//   - A message is acknowledged after the outcomes of its deliveries are
//     committed or their rows released. While Postgres is away, finished
//     outcomes wait in memory and no new attempt starts.
//   - To stop is to fetch nothing new, release what is queued, finish the
//     attempts in flight within the deadline, write their outcomes, and hand
//     over the partitions.
//   - Round does all of it once, without a broker, and returns when everything
//     that was due is recorded.
//
// The files form layers. A file refers only to files that come later in this
// list:
//
//	round, run      start and stop everything
//	partitions      what ownership decides
//	receive         messages of the owned partitions
//	rescue, fetch   rows of the table
//	settle, feed    recorded outcomes; deliveries of this process's fan-out
//	admit           deliveries into lanes
//	inspect         questions about lanes
//	execute         the scheduler's commands; attempts
//	trace
//	dispatcher      the type and its parts
//	attempt         one signed POST
//	outcomes        the one writer of outcomes, in group commits
//	delivery, message, metrics, ownership
//	options, clock, wake
//
// Maintenance stands apart: it makes and drops partitions of the tables, and
// disables webhooks that only fail.
package dispatch
