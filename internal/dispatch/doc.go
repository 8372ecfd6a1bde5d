// Package dispatch delivers: it owns partitions of webhooks, queues their
// deliveries in lanes, POSTs them signed, and writes what came of it.
//
// The parts, in the order in which a delivery meets them:
//
//   - ownership: which partitions are this process's, by a lease in Postgres;
//   - receive: delivery messages of the owned partitions, into lanes;
//   - sweep: due rows of the table, leased as far as lanes have room;
//   - scheduler and lanes: who is next;
//   - attempt: one signed POST;
//   - ledger: the one writer of outcomes, in group commits.
//
// It guarantees:
//
//   - A partition has one owner at a time, so a webhook's max_in_flight and
//     rate_limit hold over all replicas. An owner that can't renew its lease
//     starts no attempt past its end.
//   - A delivery is POSTed only under a lease of its row that outlives the
//     attempt, and a second message of a delivery that is held is dropped.
//   - An endpoint that hangs or fails holds at most its own lane and a slot of
//     the slow pool. A lane is bounded; what does not fit goes back to the
//     table, due, and is leased again when the lane has room.
//   - A message is acknowledged after its outcomes are committed or its rows
//     parked. While Postgres is away finished outcomes wait in memory and no
//     new attempt starts.
//   - Stopping means: fetch nothing new, park what is queued, finish what is on
//     the wire within the deadline, write the ledger, hand back the partitions.
package dispatch
