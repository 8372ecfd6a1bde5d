// Command bench measures how fast Fanmail delivers, what that costs, and what bad neighbours do to good ones. It compares
// Fanmail with a peer that an able engineer would build in an afternoon: River on the same Postgres (see [River]).
//
// It guarantees:
//
//   - Each system runs as in production: processes of its own with their defaults, a Postgres with the same settings, and a
//     broker with sync_interval always. Each run starts from empty storage.
//   - The systems get the same events of about 2 KB in turn within each round, and POST to the same receiver, which is a
//     process of its own.
//   - The cost of a system includes all its processes, databases and brokers. The receiver and the producer, which is this
//     process, do not count.
//   - A delivery that arrived twice counts once. One that never arrived counts in the percentiles as if it had arrived when
//     the wait ended.
//   - The measurement begins when every webhook has had deliveries from a healthy endpoint and more of them bring no more
//     speed.
//   - The healthy endpoints' times with bad neighbours are compared with the same traffic without them, in the same run on
//     the same processes.
//
// The subcommand smtp compares the acceptance of mail with Postfix's, by Postfix's own client: each in turn on empty
// storage. Postfix delivers to its discard transport, Fanmail has its events in the outbox.
//
// It prints a table and writes the same as JSON and as SVG plots. Compare ratios of figures from one machine and one call,
// never absolute figures. It reads CPU, memory and written bytes from /proc, so it needs Linux.
package main
