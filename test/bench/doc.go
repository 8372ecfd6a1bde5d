// Command bench measures how fast Fanmail delivers, what that costs and what bad
// neighbours do to good ones, beside a peer that an able engineer would build in
// an afternoon: River on the same Postgres (see [River]).
//
// It guarantees:
//
//   - Each system runs as in production: processes of its own, Fanmail's with
//     their defaults, on a Postgres of the same settings and a broker with
//     sync_interval always. Each run starts from empty storage.
//   - The systems take the same events of about 2 KB and POST to the same
//     receiver, which is a process of its own, in turn within each round.
//   - The cost of a system is that of all its processes, databases and brokers
//     included; that of the receiver and of the producer, which is this
//     process, is not counted.
//   - A delivery that came twice is counted once. One that never came counts in
//     the percentiles as having come when the waiting ended.
//   - Nothing is measured before every webhook has had deliveries, while its
//     endpoint was well, and they came no faster any more.
//   - The healthy endpoints' times with bad neighbours are compared with those
//     of the same traffic without, in the same run on the same processes.
//
// It prints a table and writes the same as JSON and as SVG plots. Compare ratios
// of figures from one machine and one call, not absolute ones. CPU, memory and
// written bytes are read from /proc, so it runs on Linux alone.
package main
