// Command chaos runs a whole Fanmail, injects faults on a seeded schedule, and checks from the outside that its promises
// held.
//
// It runs the built commands as processes, with an edge, two publishers and two dispatchers, on a durable Postgres and a
// cluster of three NATS nodes. Each process has proxies of its own, and the receivers follow a script. Everything that is
// offered, accepted, POSTed, answered and injected is written to a history. Package promise checks it.
//
// Three lanes of faults run side by side:
//
//   - processes: they are killed, paused, stopped, or die at the points of package faults;
//   - the database, the broker and the connections to them;
//   - receivers and tenants.
//
// The same seed gives the same plan, but the timing of the machine differs. Short runs build the product with shorter leases
// and retries, so that its recovery fits into the run; --long runs it unchanged.
//
// Full and slow disks need FUSE, and a clock that steps needs libfaketime. On a machine without them the run leaves those
// faults out and says so.
//
// With --soak it injects no faults: it keeps a steady load for an hour while partitions rotate, and the use of every resource
// must stay flat.
//
// With --sabotage it breaks the product on purpose, and succeeds only if the checker names the promise that this breaks.
package main
